"""From a configuration to an engine and its questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

from gymnasium.envs.registration import EnvSpec

import igpo_gym.specs as specs
from igpo_gym.config import EnvConfig, said_by
from igpo_gym.data import resolve_questions
from igpo_gym.data.evidence import check_evidence, match_evidence, require_evidence
from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.questions import QuestionBook
from igpo_gym.envs.rules import Rules
from igpo_gym.errors import SpecError, check_known
from igpo_gym.lm.policy import Sampling
from igpo_gym.protocols import ReplyLimits, resolve_protocol
from igpo_gym.protocols.probe import resolve_probe
from igpo_gym.rewards import resolve_reward
from igpo_gym.scorers import resolve_reference, resolve_scorer
from igpo_gym.scorers.prompts import check_probe
from igpo_gym.search import corpus_of, resolve_search
from igpo_gym.text import without_credentials
from igpo_gym.tools import resolve_tools
from igpo_gym.tools.evidence import GOLD_EVIDENCE


class WithoutCredentials:
    """An environment whose ``spec``, which Gymnasium sets, shows and stores, holds no passwords of URLs.

    A configuration stands in the spec by the names of the fields that it says, so that the spec is JSON.
    """

    _spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """What ``gym.make`` made the environment from."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        if spec is not None:
            kwargs = {
                name: said_by(each) if isinstance(each, EnvConfig) else each
                for name, each in spec.kwargs.items()
            }
            spec = replace(spec, kwargs=without_credentials(kwargs))
        self._spec = spec


class Assembled(WithoutCredentials):
    """An environment that is pickled as its configuration and its episodes.

    Models, indices and tools are made again from the configuration where it is unpickled; objects that stand
    in the configuration are pickled with it. A copy (``copy.copy``) shares them.
    """

    config: EnvConfig
    engine: Engine
    questions: QuestionBook

    def __getstate__(self) -> dict[str, Any]:
        return {name: each for name, each in self.__dict__.items() if name not in ("engine", "questions")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.assemble()

    def __copy__(self) -> Self:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def assemble(self) -> None:
        """Make what the configuration names."""
        questions, self.engine = assemble(self.config)
        self.questions = QuestionBook(questions)


def check_options(options: Mapping[str, Any] | None, known: tuple[str, ...]) -> Mapping[str, Any]:
    """The options of a reset. Raises ValueError for one that is not known: it would go unheeded."""
    options = options or {}
    for name in options:
        check_known(name, known, "reset option")
    return options


def make_rules(config: EnvConfig) -> Rules:
    """What a configuration says of the environment's edges."""
    limits = ReplyLimits(config.max_passage_chars, config.max_reply_chars, config.repeat_passages)
    return Rules(config.max_turns, config.on_invalid, config.on_limit, limits)


def assemble(config: EnvConfig) -> tuple[QuestionSet, Engine]:
    """The questions and the engine of a configuration. Cheap settings are checked before expensive ones load.

    >>> questions, engine = assemble(EnvConfig(questions="world:test", scorer=None, reward="outcome-f1"))
    >>> questions.name, [tool.spec.name for tool in engine.tools]
    ('world:test', ['search'])
    """
    if config.policy is not None and not isinstance(config.policy, str):
        specs.checked("policy", config.policy)
    paid = resolve_reward(config.reward)
    protocol = resolve_protocol(config.protocol)
    rules = make_rules(config)
    if config.probe is not None:
        protocol = protocol.with_probe(resolve_probe(config.probe))
    questions = resolve_questions(config.questions)
    if "evidence" in paid.needs:
        require_evidence(f"reward {paid.name!r}", questions)
    if config.tools == GOLD_EVIDENCE:
        require_evidence(f"the tool {GOLD_EVIDENCE!r}", questions)  # before an index is loaded
    if questions.flaws.shown and config.tools == "search":
        raise SpecError(
            f"a search over {without_credentials(questions.name)!r} shows the beginnings of documents; take "
            "tools='search + open', so that the rest can be read"
        )
    retriever = resolve_search(config.search, questions, config.search_cache) if _searches(config) else None
    corpus = None if retriever is None else corpus_of(retriever)
    searched = corpus or retriever
    if searched is not None and not _own_corpus(config.search) and config.tools != GOLD_EVIDENCE:
        questions = match_evidence(questions, searched)
    if "evidence" in paid.needs:
        check_evidence(f"reward {paid.name!r}", questions, searched)
    tools = resolve_tools(config.tools, retriever=retriever, top_k=config.top_k, questions=questions)
    policy = None
    if config.policy is not None:
        bound = protocol.with_tools(tool.spec for tool in tools)
        context = {"questions": questions, "protocol": bound, "sampling": Sampling()}
        policy = specs.resolve("policy", config.policy, **context)
    scorer = resolve_scorer(config.scorer)
    if framing := getattr(scorer, "framing", None):
        check_probe(framing, protocol.probe.prefix)
    engine = Engine(
        protocol,
        tools,
        paid,
        rules=rules,
        scorer=scorer,
        reference=resolve_reference(config.reference, config.scorer) if "reference" in paid.needs else None,
        corpus=corpus or questions.passages,
        retriever=retriever,
        questions=questions,
        policy=policy,
        judge=None if config.judge in (None, "none") else specs.resolve("judge", config.judge),
    )
    return questions, engine


def _searches(config: EnvConfig) -> bool:
    """Whether a retriever is needed: not without tools, nor for evidence that came with the questions."""
    if isinstance(config.tools, str | list | tuple) and not config.tools:
        return False
    return config.tools != GOLD_EVIDENCE or config.search is not None


def _own_corpus(search: Any) -> bool:
    """Whether the questions' own passages are searched."""
    return search is None or (isinstance(search, str) and specs.Spec.parse(search).place in ("bm25", "bm25:"))
