"""Is a scorer a fit judge of these questions? Beliefs under evidence that is right, foreign, and faked."""
