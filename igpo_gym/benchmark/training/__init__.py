"""``igpo-gym bench train``: which reward and which estimator trains best, with learning curves over seeds."""
