"""Alarms of a run whose rewards are hacked: what is paid and finds nothing, and what moves apart.

Each alarm is a curve over the updates of a run, made of its log alone, a threshold, and a sentence that says
what is going on. The log has a curve under ``alarm_NAME`` from update ``WINDOW`` on, and under ``alarms`` how
many are above their thresholds; docs/training.md argues for these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from igpo_gym.agents.training.logs import Metrics
from igpo_gym.agents.training.metrics import answer_named, texts_of
from igpo_gym.data.metrics import cover_exact_match
from igpo_gym.episode import Episode
from igpo_gym.rewards import RewardFunction, split
from igpo_gym.tools import queries

WINDOW = 5
"""Updates of which a curve is the mean: a single batch of a few groups says too little."""

LAG = 20
"""Updates from the window that a drift starts from to the latest, or fewer at the beginning of a run."""

SPAN = 20
"""Updates of a window of ``apart``. Each asks questions of its own, and the exact match of few says little:
with four questions an update the difference of two windows has a standard error of 0.11 at five updates (more
than the threshold), and of 0.05 at twenty."""

KEPT = max(LAG + WINDOW, 2 * SPAN)
"""How many of the latest lines of a log the curves are made of."""

Log = Sequence[Metrics]


@dataclass(frozen=True, slots=True)
class Alarm:
    """What is watched, from when on it is alarming, and what that says."""

    name: str
    measure: Callable[[Log], float]
    """From the lines of a run's updates so far, at least ``WINDOW`` of them."""
    threshold: float
    sentence: str
    """What goes on in a run whose curve is above the threshold."""


def paid_metrics(episodes: Sequence[Episode], reward: RewardFunction) -> Metrics:
    """What gains were paid for, as means over ended episodes.

    ``gain_moved`` is the sum of the sizes of all gains of an episode but that of its last turn, where a
    potential is closed; ``gain_without_new`` the sum of those of turns that brought no text that the episode
    had not seen, ``gain_seen`` of those that brought texts and none but such. A text is what a passage shows,
    or what a tool says. ``leaked_queries`` is the share of searches' queries that name a gold answer before
    the question or any text had named it.
    """
    moved = without_new = seen = 0.0
    leaks: list[bool] = []
    for episode in episodes:
        known: set[str] = set()
        gains = (*split(episode, reward).gains[: len(episode.turns) - 1], None)
        for turn, gain, named in zip(episode.turns, gains, answer_named(episode), strict=False):
            found = set(texts_of(turn))
            if not found - known:
                without_new += gain or 0.0
                seen += (gain or 0.0) if found else 0.0
            moved += abs(gain or 0.0)
            known |= found
            leaks += [
                not named and bool(cover_exact_match(query, episode.question.answers))
                for query in queries(turn.action)
            ]
    count = max(sum(bool(episode.turns) for episode in episodes), 1)  # but those that were left out
    return {
        "gain_moved": moved / count,
        "gain_without_new": without_new / count,
        "gain_seen": seen / count,
        "leaked_queries": float(np.mean(leaks)) if leaks else 0.0,
    }


def _share(name: str) -> Callable[[Log], float]:
    """Of all that gains moved, the net part that came from the turns that ``name`` counts; nan without gains.

    Gains of noise cancel in it, and it has no scale: probability or log-probability makes no difference.
    """

    def share(log: Log) -> float:
        moved = _mean(log[-WINDOW:], "gain_moved")
        return _mean(log[-WINDOW:], name) / moved if moved else math.nan

    return share


def _level(name: str) -> Callable[[Log], float]:
    return lambda log: _mean(log[-WINDOW:], name)


def _mean(log: Log, name: str) -> float:
    values = [line[name] for line in log if name in line]
    return sum(values) / len(values) if values else math.nan


def _ends(log: Log, name: str) -> tuple[float, float]:
    """The mean of a metric over the window ``LAG`` updates ago, or the first one, and over the latest."""
    recent = log[-(LAG + WINDOW) :]
    return _mean(recent[:WINDOW], name), _mean(recent[-WINDOW:], name)


def _apart(log: Log) -> float:
    """By how much the belief's rise grew and EM fell between two whole windows, the smaller of both."""
    if len(log) < 2 * SPAN:
        return math.nan
    before, now = log[-2 * SPAN : -SPAN], log[-SPAN:]
    risen, fallen = (_mean(now, name) - _mean(before, name) for name in ("gain", "em"))
    return min(risen, -fallen)


def _drift(log: Log) -> float:
    """How many times longer or shorter episodes became, in doublings."""
    before, now = _ends(log, "completion_tokens")
    return abs(math.log2(now / before)) if now and before else math.nan


ALARMS = (
    Alarm(
        "gain_without_new",
        _share("gain_without_new"),
        0.25,
        "turns that find nothing new earn a part of the gains: look at what they write",
    ),
    Alarm(
        "gain_seen",
        _share("gain_seen"),
        0.2,
        "finding again what was shown before is paid: set repeat_passages=False, or subtract `redundancy`",
    ),
    Alarm(
        "apart",
        _apart,
        0.1,
        "the belief rises more and more while answers get worse: the scorer is persuaded, not informed",
    ),
    Alarm(
        "leaked_queries",
        _level("leaked_queries"),
        0.05,
        "queries name the gold answer before any document has: questions are known by heart, or give it away",
    ),
    Alarm(
        "guessed",
        _level("guessed"),
        0.1,
        "messages name the gold answer before anything was found: context=evidence does not read them",
    ),
    Alarm(
        "forged",
        _level("forged"),
        0.1,
        "the agent writes replies of the environment itself: context=evidence does not read them",
    ),
    Alarm(
        "length",
        _drift,
        1.0,
        "episodes became twice as long, or half: an estimator can drift in length without any reward for it",
    ),
)


def alarms(log: Log) -> Metrics:
    """The curves at the latest line of a run's updates, and how many are above their thresholds.

    Nothing before there are ``WINDOW`` lines, and no curve where what it needs is not measured.

    >>> line = {"forged": 0.5, "guessed": 0.0, "em": 0.2, "completion_tokens": 40.0}
    >>> alarms([line] * 5)
    {'alarm_guessed': 0.0, 'alarm_forged': 0.5, 'alarm_length': 0.0, 'alarms': 1.0}
    >>> alarms([line])
    {}
    """
    if len(log) < WINDOW:
        return {}
    values = {alarm.name: alarm.measure(log) for alarm in ALARMS}
    known = {f"alarm_{name}": value for name, value in values.items() if not math.isnan(value)}
    return known | {"alarms": float(len(raised(known)))}


def raised(metrics: Metrics) -> list[Alarm]:
    """The alarms whose curve is above the threshold in these metrics."""
    return [alarm for alarm in ALARMS if metrics.get(f"alarm_{alarm.name}", -math.inf) > alarm.threshold]
