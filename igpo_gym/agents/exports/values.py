"""What conditions and ranks can name of an episode and of a turn, a line for each name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import igpo_gym.specs as specs
from igpo_gym.agents.exports.filters import Kind, UnknownError
from igpo_gym.data.scores import final_score, final_verdict
from igpo_gym.episode import Episode, Invalid, ToolCalls
from igpo_gym.errors import SpecError
from igpo_gym.rewards.split import Split

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Value(Generic[T]):
    """What a name means."""

    kind: Kind
    of: Callable[[T], Any]
    """The value; None where it is not known."""
    meaning: str
    priced: bool = False
    """Whether an episode has it once it has been priced."""
    final: bool = False
    """Whether an episode has it only if it ended by itself."""


@dataclass(frozen=True, slots=True)
class ToldEpisode:
    """An episode and what its record tells beside it."""

    episode: Episode
    split: Split | None = None
    advantages: tuple[float, ...] | None = None
    """For each turn; None where they were not computed."""


TurnOf = tuple[ToldEpisode, int]
"""An episode, and the number of one of its turns, from 1."""


def _belief(place: int) -> Callable[[ToldEpisode], float | None]:
    return lambda told: told.episode.beliefs[place].prob if told.episode.beliefs else None


def _return(told: ToldEpisode) -> float | None:
    return told.episode.total_reward if told.episode.rewards and told.episode.has_outcome else None


EPISODE: Mapping[str, Value[ToldEpisode]] = {
    "turns": Value("number", lambda told: len(told.episode.turns), "messages of the agent"),
    "tool_turns": Value("number", lambda told: told.episode.tool_turns, "turns that called tools"),
    "searches": Value("number", lambda told: told.episode.calls_of("search"), "calls of the tool search"),
    "invalid": Value(
        "number",
        lambda told: sum(isinstance(turn.action, Invalid) for turn in told.episode.turns),
        "turns that were no action",
    ),
    "failed": Value(
        "number",
        lambda told: sum(turn.failed for turn in told.episode.turns),
        "turns whose backend was down",
    ),
    "end": Value("text", lambda told: str(told.episode.end or "running"), "why it ended, as the record says"),
    "gain": Value(
        "number", lambda told: told.episode.belief_gain, "last belief minus first, b_T - b_0", priced=True
    ),
    "belief": Value("number", _belief(-1), "the last belief", priced=True),
    "first_belief": Value("number", _belief(0), "the belief of the prompt", priced=True),
    "return": Value("number", _return, "all that its turns were paid", priced=True, final=True),
    "outcome": Value(
        "number", lambda told: told.split and told.split.outcome, "its outcome", priced=True, final=True
    ),
    "judge": Value(
        "number",
        lambda told: final_verdict(told.episode),
        "1 where a judge found it right, else 0",
        priced=True,
        final=True,
    ),
    "attempt": Value("number", lambda told: told.episode.attempt, "which attempt it is, from 0"),
    "hops": Value("number", lambda told: told.episode.question.hops, "hops of the question"),
    "id": Value("text", lambda told: told.episode.question.id, "the question's id"),
    "source": Value("text", lambda told: told.episode.question.source, "the question's data set"),
    "prediction": Value("text", lambda told: told.episode.prediction or "", "the answer, empty without one"),
    "layout": Value(
        "text", lambda told: str(told.episode.imported.get("layout", "")), "of an imported transcript"
    ),
    "mixed_weights": Value(
        "truth",
        lambda told: bool(told.episode.extra.get("mixed_weights", False)),
        "whether more than one version of the weights played it",
    ),
}
"""The names of an episode beside its answer's metrics."""


def episode_values() -> dict[str, Value[ToldEpisode]]:
    """The names of an episode: those of the table, and every registered metric whose name is a word.

    >>> sorted({"f1", "em", "cover_em", "gain", "return"} - set(episode_values()))
    []
    """
    metrics = [name for name in specs.names("metric") if name.isidentifier() and name not in EPISODE]
    return {**{name: _metric(name) for name in metrics}, **EPISODE}


def _metric(name: str) -> Value[ToldEpisode]:
    return Value(
        "number", lambda known: final_score(name, known.episode), "a metric of the answer", final=True
    )


def _turn_belief(turn_of: TurnOf) -> float | None:
    told, number = turn_of
    beliefs = told.episode.beliefs
    return beliefs[min(number, len(beliefs) - 1)].prob if beliefs else None


def _turn_gain(turn_of: TurnOf) -> float | None:
    told, number = turn_of
    after, before = _turn_belief(turn_of), _turn_belief((told, number - 1))
    unread = told.episode.is_unread(number)
    return None if after is None or before is None or unread else after - before


def _turn_reward(turn_of: TurnOf) -> float | None:
    told, number = turn_of
    return sum(told.episode.rewards[number - 1].values()) if told.episode.rewards else None


def _turn_advantage(turn_of: TurnOf) -> float | None:
    told, number = turn_of
    compared = told.split is not None and told.split.outcome is not None
    return told.advantages[number - 1] if told.advantages and compared else None


TURN: Mapping[str, Value[TurnOf]] = {
    "turn": Value("number", lambda of: of[1], "its number, from 1"),
    "last": Value("truth", lambda of: of[1] == len(of[0].episode.turns), "whether it is the last"),
    "kind": Value("text", lambda of: of[0].episode.turns[of[1] - 1].action.kind, "tools, answer or invalid"),
    "gain": Value(
        "number", _turn_gain, "b_t - b_{t-1}; 0 for an answer, which has no belief after it", priced=True
    ),
    "belief": Value(
        "number", _turn_belief, "the belief after it; before it, where there is none after", priced=True
    ),
    "reward": Value("number", _turn_reward, "all that it was paid", priced=True),
    "advantage": Value(
        "number",
        _turn_advantage,
        "of the estimator",
        priced=True,
        final=True,
    ),
    "failed": Value("truth", lambda of: of[0].episode.turns[of[1] - 1].failed, "whether a backend was down"),
    "passages": Value(
        "number", lambda of: len(of[0].episode.turns[of[1] - 1].passages), "distinct passages it brought"
    ),
    "calls": Value(
        "number", lambda of: _calls(of[0].episode.turns[of[1] - 1].action), "calls of tools in it"
    ),
}
"""The names of a turn."""


def _calls(action: object) -> int:
    return len(action.calls) if isinstance(action, ToolCalls) else 0


class UnreadError(UnknownError):
    """What the scorer could not read has no such value: neither pricing it again nor its owner can help."""


class NoOutcomeError(UnknownError):
    """An episode that runs or was aborted has no outcome, and nothing that an outcome is part of."""


def value_of(values: Mapping[str, Value[T]], name: str, thing: T, place: str) -> Any:
    """What a name means of an episode or a turn.

    Where that is not known it raises UnknownError, if nobody can tell: the scorer could not read so far, or
    the episode has no outcome. Else it raises SpecError with the ``place``.
    """
    value = values[name].of(thing)
    if value is None:
        known: Any = thing
        told, state = known if isinstance(known, tuple) else (known, 0)
        if values[name].final and not told.episode.has_outcome:
            raise NoOutcomeError(name)
        if values[name].priced and not {0, state}.isdisjoint(told.episode.unread):
            raise UnreadError(name)
        advice = "leave the name out"
        if values[name].priced:
            advice = f"igpo-gym relabel --records measures beliefs and pays rewards, or {advice}"
        raise SpecError(f"{place}: the episode has no {name} ({values[name].meaning}); {advice}")
    return value


def kinds(values: Mapping[str, Value[T]]) -> dict[str, Kind]:
    """The kind of each name."""
    return {name: value.kind for name, value in values.items()}
