"""The environments: one engine, its single and its vector face."""

from igpo_gym.envs.single import SearchQAEnv
from igpo_gym.envs.vector import SearchQAVectorEnv
from igpo_gym.envs.wrappers import TranscriptObservation, VectorTranscriptObservation

__all__ = ["SearchQAEnv", "SearchQAVectorEnv", "TranscriptObservation", "VectorTranscriptObservation"]
