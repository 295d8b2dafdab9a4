"""What the rest of a run will spend, from some of its pieces that are made for it and not kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice

from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.rollouts.costs import Meter, Spent
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Question
from igpo_gym.lm.policy import Policy
from igpo_gym.statistics import COUNT, Estimate, mean_over

SECONDS = 10.0
"""How long a probe takes, and on to the end of the piece that it is in."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a run: how many units it has (episodes), and what they took."""

    units: int
    spent: Spent


def probe(
    pieces: Iterable[int], meter: Meter, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic
) -> list[Piece]:
    """Make pieces, which yield their numbers of units, until the time is over; at least one, if there is one.

    >>> [piece.units for piece in probe([2, 2], Meter())]
    [2, 2]
    """
    began, before, found = clock(), meter.spent, []
    for units in pieces:
        now = meter.spent
        found.append(Piece(units, now - before))
        before = now
        if clock() - began >= seconds:
            break
    return found


def forecast(pieces: Sequence[Piece], units: int) -> dict[str, Estimate]:
    """What ``units`` more will spend, by the names of :class:`Spent`, with a 95% interval over the pieces.

    There is no interval below five pieces.

    >>> forecast([Piece(2, Spent(messages=6)), Piece(2, Spent(messages=10))], 100)["messages"].value
    400.0
    """
    found = {}
    for name in asdict(Spent()):
        rates = [asdict(piece.spent)[name] / piece.units for piece in pieces for _ in range(piece.units)]
        of = [place for place, piece in enumerate(pieces) for _ in range(piece.units)]
        rate = mean_over(rates, of, COUNT) if rates else Estimate(math.nan, math.nan, math.nan, 0)
        found[name] = Estimate(rate.value * units, rate.low * units, rate.high * units, rate.units)
    return found


def played(
    engine: Engine, policy: Policy, questions: Sequence[Question], batch_size: int, meter: Meter
) -> Iterator[int]:
    """Play batches of the questions, each to its end, and yield how many episodes they were.

    A run begins the next episode where one ends, so that it is faster than this where episodes differ.
    """
    waiting = iter(questions)
    while batch := list(islice(waiting, batch_size)):
        episodes = list(collect(engine, policy, batch, batch_size))
        for episode in episodes:
            meter.saw(episode)
        yield len(episodes)
