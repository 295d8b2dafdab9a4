"""Two agents that any other is held against: one that plays without search, one that is given the evidence.

``closed-book:AGENT`` writes one message, and has no tool. ``oracle:AGENT`` (an oracle reader) is shown the
gold passages as the first reply, and writes one message, which only an answer may be. Any agent may stand
behind the colon. What they play under are settings of the environment like others (``PLAYS_UNDER``), so the
engine's own rules hold and every record says it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import igpo_gym.specs as specs
from igpo_gym.config import EnvConfig
from igpo_gym.data.evidence import found_evidence
from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import Episode, Message
from igpo_gym.errors import SpecError
from igpo_gym.lm.policy import Policy, Sampling, has_room, messages_of
from igpo_gym.protocols import TextProtocol
from igpo_gym.specs import Spec
from igpo_gym.tools import search_call
from igpo_gym.tools.evidence import GOLD_EVIDENCE

PLAYS_UNDER: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "closed-book": {"tools": "", "max_turns": 1, "on_limit": "truncate"},
        "oracle": {"tools": GOLD_EVIDENCE, "max_turns": 1, "on_limit": "answer"},
    }
)
"""The settings of the environment that each plays under, whatever else is asked for."""


def played_by(agent: str | None, config: EnvConfig) -> EnvConfig:
    """The environment as an agent plays it: the settings that it plays under are in it.

    >>> played_by("closed-book:nano", EnvConfig()).max_turns, played_by("nano", EnvConfig()) == EnvConfig()
    (1, True)
    """
    return replace(config, **PLAYS_UNDER.get((agent or "").partition(":")[0], {}))


class ClosedBook:
    """An agent that answers from memory, in one message. Raises SpecError where it would have tools.

    >>> from igpo_gym.data.world import load_world
    >>> from igpo_gym.protocols import TAGS
    >>> policy = ClosedBook("guesser", load_world("test"), TAGS.with_tools(()), Sampling())
    >>> question = load_world("test").questions[0]
    >>> TAGS.parse(policy.act([Episode(question, TAGS.with_tools(()).prompt(question))])[0]).kind
    'answer'
    """

    def __init__(
        self, agent: str, questions: QuestionSet, protocol: TextProtocol, sampling: Sampling, **options: str
    ) -> None:
        if protocol.tools:
            raise SpecError(f"a closed-book agent plays with {_settings('closed-book')}")
        self.agent = _behind("closed-book", agent, options, questions, protocol, sampling)

    def act(self, episodes: Sequence[Episode]) -> Sequence[str | Message]:
        """The agent's messages."""
        return messages_of(self.agent, episodes)

    def has_room(self, episode: Episode) -> bool:
        """Whether the agent has room for a message."""
        return has_room(self.agent, episode)


class OracleReader:
    """An agent that reads the gold passages: a script searches for the question, then the agent answers.

    Raises SpecError, at its own turn, where the search did not bring all gold passages: it plays in an
    environment whose search is the tool ``gold-evidence``.

    >>> from igpo_gym.data.world import load_world
    >>> from igpo_gym.protocols import TAGS
    >>> world = load_world("test", hops=2)
    >>> OracleReader("nano", world, TAGS, Sampling()).act([Episode(world.questions[0], ())])
    ['<search>What is the capital of the region that contains Salman?</search>']
    """

    def __init__(
        self, agent: str, questions: QuestionSet, protocol: TextProtocol, sampling: Sampling, **options: str
    ) -> None:
        self.protocol = protocol
        self.agent = _behind("oracle", agent, options, questions, protocol, sampling)

    def act(self, episodes: Sequence[Episode]) -> list[str | Message]:
        """The search for the question in an episode's first turn, the agent's message in its second."""
        reading = [episode for episode in episodes if episode.turns]
        for episode in reading:
            found = found_evidence(episode.question, episode.turns[0].passages)
            if not found.issuperset(episode.question.evidence):
                raise SpecError(
                    f"the oracle reader of question {episode.question.id!r} was not given the gold passages; "
                    f"it plays with {_settings('oracle')}"
                )
        read = iter(messages_of(self.agent, reading))
        return [next(read) if episode.turns else self._search(episode) for episode in episodes]

    def has_room(self, episode: Episode) -> bool:
        """Whether the agent has room for a message."""
        return has_room(self.agent, episode)

    def _search(self, episode: Episode) -> str:
        return self.protocol.write(search_call(episode.question.text))


def _behind(
    name: str,
    agent: str,
    options: Mapping[str, str],
    questions: QuestionSet,
    protocol: TextProtocol,
    sampling: Sampling,
) -> Policy:
    if agent.partition(":")[0] in PLAYS_UNDER:
        raise SpecError(f"{name}:{agent} is one bound within another; name the agent itself")
    spec = str(Spec(agent, options))
    policy: Policy = specs.resolve("policy", spec, questions=questions, protocol=protocol, sampling=sampling)
    return policy


def _settings(name: str) -> str:
    """What an agent plays under, as arguments."""
    return ", ".join(f"{key}={value!r}" for key, value in PLAYS_UNDER[name].items())
