"""The environments: one engine, and its single, vector, discrete and asynchronous faces."""

from igpo_gym.envs.asynchronous import AsyncSearchQA
from igpo_gym.envs.discrete import SearchQADiscreteEnv, SearchQADiscreteVectorEnv
from igpo_gym.envs.engine import Engine, Rules
from igpo_gym.envs.information_gain import InformationGain, TextEnv, VectorInformationGain
from igpo_gym.envs.single import SearchQAEnv
from igpo_gym.envs.vector import SearchQAVectorEnv
from igpo_gym.envs.wrappers import NumericInfo, TranscriptObservation, VectorTranscriptObservation

__all__ = [
    "AsyncSearchQA",
    "Engine",
    "InformationGain",
    "NumericInfo",
    "Rules",
    "SearchQADiscreteEnv",
    "SearchQADiscreteVectorEnv",
    "SearchQAEnv",
    "SearchQAVectorEnv",
    "TextEnv",
    "TranscriptObservation",
    "VectorInformationGain",
    "VectorTranscriptObservation",
]
