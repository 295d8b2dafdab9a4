"""Reward functions: sums of named, weighted terms, and the presets."""

from igpo_gym.rewards.functions import PRESETS, RewardFunction, curriculum, curriculum_weights, resolve_reward
from igpo_gym.rewards.interface import Instrument, RewardTerm
from igpo_gym.rewards.split import Split, split
from igpo_gym.rewards.terms import TERMS, make_term

__all__ = [
    "PRESETS",
    "TERMS",
    "Instrument",
    "RewardFunction",
    "RewardTerm",
    "Split",
    "curriculum",
    "curriculum_weights",
    "make_term",
    "resolve_reward",
    "split",
]
