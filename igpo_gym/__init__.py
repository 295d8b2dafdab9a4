"""Search question answering as Gymnasium environments whose step pays information gain.

Importing the package registers the environments:

- ``SearchQA-IGPO-v0`` pays each turn how much it raised a language model's probability of the gold answer,
  and F1 on the last turn;
- ``SearchQA-Outcome-v0`` pays F1 on the last turn alone, and needs no model;
- ``SearchQA-v0`` pays the ``reward`` that you name;
- ``SearchQA-IGPO-Discrete-v0`` is the first with numbered actions and observations of a fixed size, for
  agents without language: see :class:`igpo_gym.envs.discrete.SearchQADiscreteEnv`.

All take the arguments of :class:`igpo_gym.envs.SearchQAEnv`, and ``gymnasium.make_vec`` reaches the batched
form, :class:`igpo_gym.envs.SearchQAVectorEnv`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import gymnasium

if TYPE_CHECKING:
    from igpo_gym.agents.policies import ScriptedAgent as ScriptedAgent
    from igpo_gym.agents.policies import resolve_policy as resolve_policy
    from igpo_gym.agents.policies.language_model import LanguageModelPolicy as LanguageModelPolicy
    from igpo_gym.agents.policies.remote import RemotePolicy as RemotePolicy
    from igpo_gym.agents.rollouts.collect import collect as collect
    from igpo_gym.agents.rollouts.records import RolloutFile as RolloutFile
    from igpo_gym.agents.rollouts.records import read_rollouts as read_rollouts
    from igpo_gym.agents.rollouts.transcripts import read_transcripts as read_transcripts
    from igpo_gym.agents.training import Estimator as Estimator
    from igpo_gym.agents.training import Settings as Settings
    from igpo_gym.agents.training import Turns as Turns
    from igpo_gym.agents.training import resolve_estimator as resolve_estimator
    from igpo_gym.agents.training import train as train
    from igpo_gym.config import EnvConfig as EnvConfig
    from igpo_gym.data.interface import QuestionSet as QuestionSet
    from igpo_gym.envs import InformationGain as InformationGain
    from igpo_gym.envs import SearchQADiscreteEnv as SearchQADiscreteEnv
    from igpo_gym.envs import SearchQAEnv as SearchQAEnv
    from igpo_gym.envs import SearchQAVectorEnv as SearchQAVectorEnv
    from igpo_gym.envs import TranscriptObservation as TranscriptObservation
    from igpo_gym.envs import VectorInformationGain as VectorInformationGain
    from igpo_gym.episode import Answer as Answer
    from igpo_gym.episode import Belief as Belief
    from igpo_gym.episode import EndReason as EndReason
    from igpo_gym.episode import Episode as Episode
    from igpo_gym.episode import Invalid as Invalid
    from igpo_gym.episode import Message as Message
    from igpo_gym.episode import Passage as Passage
    from igpo_gym.episode import Question as Question
    from igpo_gym.episode import Segment as Segment
    from igpo_gym.episode import ToolCall as ToolCall
    from igpo_gym.episode import ToolCalls as ToolCalls
    from igpo_gym.episode import ToolResult as ToolResult
    from igpo_gym.episode import Turn as Turn
    from igpo_gym.lm.policy import Policy as Policy
    from igpo_gym.lm.policy import Sampling as Sampling
    from igpo_gym.protocols import AnswerProbe as AnswerProbe
    from igpo_gym.protocols import TextProtocol as TextProtocol
    from igpo_gym.rewards import RewardFunction as RewardFunction
    from igpo_gym.rewards import RewardTerm as RewardTerm
    from igpo_gym.rewards import resolve_reward as resolve_reward
    from igpo_gym.rewards.pricing import information_gain as information_gain
    from igpo_gym.rewards.relabel import relabel as relabel
    from igpo_gym.rewards.split import Split as Split
    from igpo_gym.rewards.split import split as split
    from igpo_gym.scorers.interface import AnswerScorer as AnswerScorer
    from igpo_gym.scorers.interface import BeliefRequest as BeliefRequest
    from igpo_gym.scorers.local import TransformersScorer as TransformersScorer
    from igpo_gym.scorers.remote import RemoteScorer as RemoteScorer
    from igpo_gym.search.bm25 import BM25Index as BM25Index
    from igpo_gym.search.interface import Retriever as Retriever
    from igpo_gym.specs import register as register
    from igpo_gym.tools.interface import Tool as Tool
    from igpo_gym.tools.interface import ToolSpec as ToolSpec

__version__ = "0.2.0"

_SURFACE: dict[str, tuple[str, ...]] = {
    "igpo_gym.episode": (
        "Answer",
        "Belief",
        "EndReason",
        "Episode",
        "Invalid",
        "Message",
        "Passage",
        "Question",
        "Segment",
        "ToolCall",
        "ToolCalls",
        "ToolResult",
        "Turn",
    ),
    "igpo_gym.specs": ("register",),
    "igpo_gym.config": ("EnvConfig",),
    "igpo_gym.data.interface": ("QuestionSet",),
    "igpo_gym.search.bm25": ("BM25Index",),
    "igpo_gym.search.interface": ("Retriever",),
    "igpo_gym.tools.interface": (
        "Tool",
        "ToolSpec",
    ),
    "igpo_gym.protocols": (
        "AnswerProbe",
        "TextProtocol",
    ),
    "igpo_gym.lm.policy": (
        "Policy",
        "Sampling",
    ),
    "igpo_gym.scorers.interface": (
        "AnswerScorer",
        "BeliefRequest",
    ),
    "igpo_gym.scorers.local": ("TransformersScorer",),
    "igpo_gym.scorers.remote": ("RemoteScorer",),
    "igpo_gym.rewards": (
        "RewardFunction",
        "RewardTerm",
        "resolve_reward",
    ),
    "igpo_gym.rewards.pricing": ("information_gain",),
    "igpo_gym.rewards.relabel": ("relabel",),
    "igpo_gym.rewards.split": ("Split", "split"),
    "igpo_gym.envs": (
        "InformationGain",
        "SearchQADiscreteEnv",
        "SearchQAEnv",
        "SearchQAVectorEnv",
        "TranscriptObservation",
        "VectorInformationGain",
    ),
    "igpo_gym.agents.policies": ("ScriptedAgent", "resolve_policy"),
    "igpo_gym.agents.policies.language_model": ("LanguageModelPolicy",),
    "igpo_gym.agents.policies.remote": ("RemotePolicy",),
    "igpo_gym.agents.rollouts.collect": ("collect",),
    "igpo_gym.agents.rollouts.records": (
        "RolloutFile",
        "read_rollouts",
    ),
    "igpo_gym.agents.rollouts.transcripts": ("read_transcripts",),
    "igpo_gym.agents.training": (
        "Estimator",
        "Settings",
        "Turns",
        "resolve_estimator",
        "train",
    ),
}
"""The public names by the module that has them. Everything else may move."""

_MODULES = {name: module for module, names in _SURFACE.items() for name in names}

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    """A public name, imported at its first use: importing the package loads gymnasium and numpy alone."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# Not plain arguments, which Gymnasium could not tell from the caller's: a configuration wins over an id.
_ENVIRONMENTS: dict[str, dict[str, Any]] = {
    "SearchQA-v0": {},
    "SearchQA-IGPO-v0": {"reward": "igpo"},
    "SearchQA-Outcome-v0": {"reward": "outcome-f1", "scorer": None},
}

# Without Gymnasium's passive checker, which lets no step pass where the first reset raised: a wrong option, a
# server that was down.
for _name, _sets in _ENVIRONMENTS.items():
    gymnasium.register(
        id=_name,
        entry_point="igpo_gym.envs.single:SearchQAEnv",
        vector_entry_point="igpo_gym.envs.vector:SearchQAVectorEnv",
        disable_env_checker=True,
        kwargs={"id_sets": _sets} if _sets else {},
    )

gymnasium.register(
    id="SearchQA-IGPO-Discrete-v0",
    entry_point="igpo_gym.envs.discrete:SearchQADiscreteEnv",
    vector_entry_point="igpo_gym.envs.discrete:SearchQADiscreteVectorEnv",
    disable_env_checker=True,
    kwargs={"id_sets": {"reward": "igpo"}},
)
