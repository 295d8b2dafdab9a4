"""Belief scorers: how likely a language model finds the gold answer, given a transcript."""
