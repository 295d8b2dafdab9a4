"""What an evaluation tells of an episode: the scores of its answer, and how the agent went about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from igpo_gym.data.scores import (
    JUDGE,
    PARTS,
    Metric,
    final_score,
    final_verdict,
    recorded_score,
    resolve_metric,
)
from igpo_gym.episode import EndReason, Episode, Invalid
from igpo_gym.statistics import COUNT, SHARE, Bounds

USUAL = ("em", "f1", "cover_em", "igpo_f1", PARTS.name)
"""The metrics that are told unless others are asked for; the last of questions with parts alone."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure of an ended episode.

    >>> from igpo_gym.episode import Question
    >>> episode = Episode(Question("1", "Where?", ("Danzig",)), (), end=EndReason.TURNS_EXHAUSTED)
    >>> [(each.name, each.value(episode)) for each in measures(("em",))][:4]
    [('em', 0.0), ('judge', None), ('judge agrees with em', None), ('searches', 0)]
    """

    name: str
    meaning: str
    value: Callable[[Episode], float | None]
    """The figure; None where the episode does not tell."""
    bounds: Bounds = COUNT
    score: bool = False
    """Whether it says how right the answer is; of other figures more is not better."""


def measures(metrics: Iterable[str] = USUAL) -> tuple[Measure, ...]:
    """The measures of a table, the answer's metrics in front. Raises SpecError for a metric not known."""
    answers = {made.name: made for made in map(_of_metric, metrics)}
    ends = (
        Measure(str(reason), f"share of episodes that ended so: {reason}", partial(_ended, reason), SHARE)
        for reason in EndReason
    )
    return (*answers.values(), *_JUDGED, *_CONDUCT, *ends)


def measure_named(name: str) -> Measure:
    """One measure: a metric of the answer, or one of the others that a table has.

    >>> measure_named("judge").bounds, measure_named("em_strict").name
    ((0.0, 1.0), 'em_strict')
    """
    others = {each.name: each for each in measures(())}
    return others[name] if name in others else _of_metric(name)


def _of_metric(name: str) -> Measure:
    metric = resolve_metric(name)
    source = f"({metric.source})" * bool(metric.source)
    return Measure(
        metric.name,
        " ".join(filter(None, (metric.rule, source))),
        partial(_scored, metric),
        SHARE,
        score=True,
    )


def tokens(episode: Episode) -> int | None:
    """How many tokens the agent sampled in an episode; None where no message tells its ids."""
    known = [segment.ids for segment in episode.segments if segment.author == "agent" and segment.ids]
    return sum(map(len, known)) if known else None


def _agreement(episode: Episode) -> float | None:
    verdict = final_verdict(episode)
    return None if verdict is None else float(verdict == recorded_score("em", episode))


_JUDGED = (
    Measure(
        JUDGE, "whether a judge found the answer right, where one was asked", final_verdict, SHARE, score=True
    ),
    Measure("judge agrees with em", "whether judge and exact match say the same", _agreement, SHARE),
)

_CONDUCT = (
    Measure(
        "searches", "calls of the tool search, in an episode", lambda episode: episode.calls_of("search")
    ),
    Measure("opens", "calls of the tool open, in an episode", lambda episode: episode.calls_of("open")),
    Measure("turns", "messages of the agent, in an episode", lambda episode: len(episode.turns)),
    Measure("tokens", "tokens that the agent sampled in an episode, where they are known", tokens),
    Measure(
        "invalid messages",
        "messages that were no action, in an episode",
        lambda episode: sum(isinstance(turn.action, Invalid) for turn in episode.turns),
    ),
    Measure(
        "search failures",
        "calls whose backend was down, in an episode",
        lambda episode: sum(result.failed for turn in episode.turns for result in turn.results),
    ),
)


def _scored(metric: Metric, episode: Episode) -> float | None:
    return None if metric.parts and not episode.question.parts else final_score(metric, episode)


def _ended(reason: EndReason, episode: Episode) -> float:
    return float(episode.end is reason)
