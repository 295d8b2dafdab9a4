"""The environments: one engine, and its single, vector and discrete faces."""

from igpo_gym.envs.discrete import SearchQADiscreteEnv, SearchQADiscreteVectorEnv
from igpo_gym.envs.engine import Engine, Rules
from igpo_gym.envs.single import SearchQAEnv
from igpo_gym.envs.vector import SearchQAVectorEnv
from igpo_gym.envs.wrappers import TranscriptObservation, VectorTranscriptObservation

__all__ = [
    "Engine",
    "Rules",
    "SearchQADiscreteEnv",
    "SearchQADiscreteVectorEnv",
    "SearchQAEnv",
    "SearchQAVectorEnv",
    "TranscriptObservation",
    "VectorTranscriptObservation",
]
