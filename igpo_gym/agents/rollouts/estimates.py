"""What the rest of a run will spend, from some of its pieces that are made for it and not kept.

A run says what is left of it as :class:`Work`: episodes of a set, updates, validations. Each is tried for a
while, and what all of it will spend is their sum.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice

from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.rollouts.costs import Meter, Spent
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Question
from igpo_gym.lm.policy import Policy
from igpo_gym.statistics import COUNT, Estimate, mean_over, total

SECONDS = 10.0
"""How long the works of a run are tried together, and on to the end of the piece that each is in."""


@dataclass(frozen=True, slots=True)
class Work:
    """A part of what is left of a run."""

    what: str
    """What its units are called: "episodes", "updates"."""
    left: int
    """How many units are left."""
    pieces: Iterable[int]
    """Makes some of it, without keeping it, and yields how many units each piece has."""
    meter: Meter
    """Counts what the pieces spend."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a work: how many units it has, and what they took."""

    units: int
    spent: Spent


def probe(
    pieces: Iterable[int], meter: Meter, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic
) -> list[Piece]:
    """Make pieces, which yield their numbers of units, until the time is over; at least one, if there is one.

    A piece of no units is preparation, such as the loading of a model: it is not counted.

    >>> [piece.units for piece in probe([2, 2], Meter())]
    [2, 2]
    """
    began, before, found = clock(), meter.spent, []
    for units in pieces:
        now = meter.spent
        if units:
            found.append(Piece(units, now - before))
        else:
            began = clock()
        before = now
        if found and clock() - began >= seconds:
            break
    return found


def forecast(pieces: Sequence[Piece], units: int) -> dict[str, Estimate]:
    """What ``units`` more will spend, by the names of :class:`Spent`, with a 95% interval over the pieces.

    There is no interval below five pieces, nor where all spend the same, unless that is nothing.

    >>> forecast([Piece(2, Spent(messages=6)), Piece(2, Spent(messages=10))], 100)["messages"].value
    400.0
    """
    found = {}
    of = [place for place, piece in enumerate(pieces) for _ in range(piece.units)]
    for name in (field.name for field in fields(Spent)):
        rates = [getattr(pieces[place].spent, name) / pieces[place].units for place in of]
        rate = mean_over(rates, of, COUNT) if rates else Estimate(math.nan, math.nan, math.nan, 0)
        if not any(rates):  # what no piece does at all, the others will not do either
            rate = Estimate(0.0, 0.0, 0.0, rate.units)
        found[name] = Estimate(rate.value * units, rate.low * units, rate.high * units, rate.units)
    return found


def estimated(works: Sequence[Work], seconds: float | None = None) -> dict[str, Estimate]:
    """What all works together will spend, by the names of :class:`Spent`.

    Each is tried for its share of the ``seconds``, ``SECONDS`` by default. A work of which nothing is left is
    not tried. There is an interval where each of the others has one.

    >>> meter = Meter(clock=lambda: 0.0)
    >>> def played():
    ...     for messages in (3, 4, 5, 4, 4):
    ...         meter.add(Spent(messages=messages))
    ...         yield 1
    >>> found = estimated([Work("episodes", 100, played(), meter)])["messages"]
    >>> found.value, round(found.low), round(found.high)
    (400.0, 321, 498)
    """
    left = [work for work in works if work.left]
    share = (SECONDS if seconds is None else seconds) / max(1, len(left))
    tried = [probe(work.pieces, work.meter, share) for work in left]
    return together([forecast(pieces, work.left) for pieces, work in zip(tried, left, strict=True)])


def together(found: Sequence[Mapping[str, Estimate]]) -> dict[str, Estimate]:
    """The sum of several forecasts, by the names of :class:`Spent`."""
    return {field.name: total([each[field.name] for each in found]) for field in fields(Spent)}


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
