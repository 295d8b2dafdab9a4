"""Reward functions: sums of named, weighted terms, and the presets."""

from igpo_gym.rewards.functions import PRESETS, RewardFunction, resolve_reward
from igpo_gym.rewards.terms import TERMS, RewardTerm

__all__ = ["PRESETS", "TERMS", "RewardFunction", "RewardTerm", "resolve_reward"]
