"""The environments: one engine, and its single, vector, discrete and asynchronous faces."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from igpo_gym.envs.asynchronous import AsyncSearchQA
    from igpo_gym.envs.discrete import SearchQADiscreteEnv, SearchQADiscreteVectorEnv
    from igpo_gym.envs.engine import Engine
    from igpo_gym.envs.information_gain import InformationGain, TextEnv, VectorInformationGain
    from igpo_gym.envs.rules import Rules
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

_MODULES = {
    "asynchronous": ("AsyncSearchQA",),
    "discrete": ("SearchQADiscreteEnv", "SearchQADiscreteVectorEnv"),
    "engine": ("Engine",),
    "information_gain": ("InformationGain", "TextEnv", "VectorInformationGain"),
    "rules": ("Rules",),
    "single": ("SearchQAEnv",),
    "vector": ("SearchQAVectorEnv",),
    "wrappers": ("NumericInfo", "TranscriptObservation", "VectorTranscriptObservation"),
}


def __getattr__(name: str) -> Any:
    """A class, imported at its first use: who needs the engine alone does not wait for the faces."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
