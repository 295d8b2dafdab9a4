"""Information gain for any environment that talks: what was asked and told becomes a transcript."""

from igpo_gym.envs.information_gain.single import InformationGain
from igpo_gym.envs.information_gain.text_env import TextEnv
from igpo_gym.envs.information_gain.vector import VectorInformationGain

__all__ = ["InformationGain", "TextEnv", "VectorInformationGain"]
