"""Reward functions: sums of named, weighted terms, and the presets."""
