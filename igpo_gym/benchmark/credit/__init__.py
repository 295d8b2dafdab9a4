"""The credit benchmark: which reward pays the right turns, measured where the right turns are known."""
