"""Adapters: the environments inside the reinforcement-learning libraries that people already use."""
