"""The environments: one engine, its single and its vector face."""
