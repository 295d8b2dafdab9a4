"""The episodes of a page, by key: beginning one, playing a turn, and what the page is shown of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from igpo_gym.envs.engine import Engine
from igpo_gym.envs.questions import QuestionStream
from igpo_gym.episode import Answer, Episode, Question, ToolCall, ToolCalls
from igpo_gym.errors import SpecError
from igpo_gym.lm.policy import Policy, messages_of
from igpo_gym.protocols import TextProtocol
from igpo_gym.tools import ToolSpec
from igpo_gym.viewer.data import as_json, asked, details, summary
from igpo_gym.viewer.runs import Paid, Shown

KEPT = 256
"""How many episodes are remembered; the oldest goes for the next."""

_WITHHELD = "\ue000"
"""Stands for the gold answer until the end: a character that is in no text."""


class UnknownEpisodeError(LookupError):
    """A key of no episode that is remembered."""


class PlayedError(Exception):
    """A turn that another tab, or an earlier click, has played already."""


@dataclass
class Episodes:
    """All episodes of a server. Its calls come one after the other; :meth:`state` may come at any time.

    >>> from igpo_gym.config import EnvConfig
    >>> from igpo_gym.envs.setup import assemble
    >>> questions, engine = assemble(EnvConfig(questions="world:test", scorer=None, reward="outcome-f1"))
    >>> episodes = Episodes(engine, QuestionStream(questions.questions, seed=0))
    >>> key = episodes.begin()
    >>> episodes.play(key, 0, {"tool": "search", "arguments": {"query": "Salman"}})
    >>> episodes.play(key, 1, {"answer": "Danzig"})
    >>> '"end":"answered"' in episodes.state(key)
    True
    """

    engine: Engine
    questions: QuestionStream
    policy: Policy | None = None
    """Who plays; None is the person."""
    on_end: Callable[[Sequence[Episode]], None] = lambda ended: None
    """Is called with all episodes that have ended, whenever another has."""
    ended: list[Episode] = field(default_factory=list)
    """In the order of their ends."""
    _running: dict[str, Episode] = field(default_factory=dict)
    _states: dict[str, str] = field(default_factory=dict)
    _begun: int = 0

    def begin(self) -> str:
        """Begin an episode on the next question; returns its key. Raises what :meth:`Engine.start` raises."""
        (episode,) = self.engine.begin([self.questions[self._begun]])
        self.engine.start([episode])
        self._begun += 1
        key = secrets.token_urlsafe(9)
        self._running[key] = episode
        self._states[key] = self._state(key, episode)
        for old in list(self._states)[:-KEPT]:
            del self._states[old]
            self._running.pop(old, None)
        return key

    def state(self, key: str) -> str:
        """What the page shows of an episode, as JSON. Raises UnknownEpisodeError."""
        try:
            return self._states[key]
        except KeyError:
            raise UnknownEpisodeError(key) from None

    def play(self, key: str, turns: int, action: Mapping[str, Any]) -> None:
        """Play a turn of the episode that has had ``turns`` of them.

        ``action`` is ``{"tool": name, "arguments": {...}}``, ``{"answer": text}``, ``{"message": text}``, or
        empty where an agent plays. Whatever is raised, the episode is then as it was, unless ``on_end``
        raises it: UnknownEpisodeError, PlayedError, SpecError for what is no action, and what the agent, the
        tools or the scorer raise.
        """
        self.state(key)
        episode = self._running.get(key)
        if episode is None or len(episode.turns) != turns:
            raise PlayedError(f"turn {turns + 1} is played already; this is where the episode stands")
        said = (
            messages_of(self.policy, [episode])[0] if self.policy else written(self.engine.protocol, action)
        )
        self.engine.settle(self.engine.play([episode], [said]))
        self._states[key] = self._state(key, episode)
        if episode.done:
            del self._running[key]
            self.ended.append(episode)
            self.on_end(self.ended)

    def tools(self) -> list[dict[str, Any]]:
        """The tools as forms: of each its name, purpose and fields."""
        return [
            {"name": spec.name, "purpose": spec.purpose, "fields": _fields(spec)}
            for spec in self.engine.protocol.tools
        ]

    def _state(self, key: str, episode: Episode) -> str:
        shown = episode if episode.done else _without_gold(episode)
        each = Shown({}, shown, {self.engine.reward.name: Paid(shown.rewards, None)})
        question, lists = asked(shown.question), summary(each)
        if not episode.done:
            question["answers"], lists["scores"] = (), {}
        turns = self.engine.max_turns(episode)
        return as_json(
            {
                "key": key,
                "question": question,
                "episode": lists,
                "own": details(each, {}),
                "only_answer": len(episode.turns) >= turns,
                "left": max(turns - len(episode.turns), 0),
            }
        )


def written(protocol: TextProtocol, action: Mapping[str, Any]) -> str:
    """The message for an action as :meth:`Episodes.play` takes it. Raises SpecError for what is no action.

    >>> from igpo_gym.protocols import TAGS
    >>> written(TAGS, {"tool": "search", "arguments": {"query": "Danzig"}}), written(TAGS, {"message": "hm"})
    ('<search>Danzig</search>', 'hm')
    """
    specs = {spec.name: spec for spec in protocol.tools}
    match action:
        case {"tool": str(name), "arguments": dict(arguments)} if name in specs:
            if wrong := specs[name].problem(arguments):
                raise SpecError(f"{name}: {wrong}")
            return protocol.write(ToolCalls((ToolCall(name, arguments),)))
        case {"answer": str(text)}:
            return protocol.write(Answer(text.strip()))
        case {"message": str(text)}:
            return text
    raise SpecError(f"an action is a call of {', '.join(specs) or 'no tool'}, an answer or a message")


def _without_gold(episode: Episode) -> Episode:
    """The episode without all that tells of the gold answer: its text, its tokens, its evidence."""
    question = episode.question
    bare = Question(question.id, question.text, (_WITHHELD,), hops=question.hops, source=question.source)
    beliefs = [replace(belief, token_log_probs=()) for belief in episode.beliefs]
    return replace(episode, question=bare, beliefs=beliefs, measured=[])


def _fields(spec: ToolSpec) -> list[dict[str, Any]]:
    required = spec.parameters.get("required", ())
    return [
        {
            "name": name,
            "kind": _kind(schema),
            "required": name in required,
            "help": schema.get("description", "") if isinstance(schema, Mapping) else "",
        }
        for name, schema in spec.parameters["properties"].items()
    ]


def _kind(schema: Mapping[str, Any] | bool) -> str:
    """How a field is typed: as a text, a number, or JSON."""
    if not isinstance(schema, Mapping):  # true, which allows everything
        return "json"
    ways = [each for each in (schema, *schema.get("anyOf", ())) if isinstance(each, Mapping)]
    types = {name for each in ways for name in _listed(each.get("type"))}
    values = {type(value) for each in ways for value in _listed(each.get("enum"))}
    if "string" in types or values == {str}:
        return "text"
    return "number" if types & {"integer", "number"} or (values and values <= {int, float}) else "json"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
