"""Which recorded episodes and turns are exported, and with which advantages."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from igpo_gym.agents.exports.filters import Condition, UnknownError, kind_of
from igpo_gym.agents.exports.values import (
    TURN,
    ToldEpisode,
    Value,
    episode_values,
    kinds,
    value_of,
)
from igpo_gym.agents.rollouts.branches import Leaf, compared
from igpo_gym.agents.rollouts.records import read_recordings, recorded_split
from igpo_gym.agents.training.advantages import advantages, turn_states
from igpo_gym.agents.training.estimators import DEFAULT, Estimator, resolve_estimator
from igpo_gym.episode import Episode
from igpo_gym.errors import DataError, SpecError
from igpo_gym.rewards.split import Split

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Chosen:
    """An episode that is exported."""

    episode: Episode
    place: str
    """Its file and line, for messages."""
    group: Hashable
    """Whose attempts it is compared with."""
    split: Split | None
    advantages: tuple[float, ...] | None
    """For each turn; None where a record of the file has no split."""
    kept: tuple[bool, ...]
    """For each turn, whether it is trained on."""


@dataclass(frozen=True, slots=True)
class Rank:
    """Of episodes, those with the highest value of a name.

    >>> Rank.read("2 by f1", episode_values(), "--best")
    Rank(text='2 by f1', amount=2.0, name='f1')
    >>> Rank.read("0.2", episode_values(), "--top").name
    'return'
    """

    text: str
    amount: float
    name: str

    @classmethod
    def read(cls, text: str, values: Mapping[str, Value[ToldEpisode]], option: str) -> Rank:
        """``AMOUNT by NAME``, or ``AMOUNT`` alone, which goes by ``return``. SpecError for anything else."""
        place = f"{option} {text!r:.100}"
        found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)(?:\s+by\s+(\w+))?\s*", text)
        if not found:
            raise SpecError(f"{place}: write AMOUNT by NAME, such as 0.2 by gain")
        name = found[2] or "return"
        if kind_of(name, kinds(values), place) != "number":
            raise SpecError(f"{place}: {name} is no number, so nothing has the most of it")
        return cls(text, float(found[1]), name)


@dataclass(frozen=True, slots=True)
class Selection:
    """What is chosen of a file: the episodes that ``where`` holds for, of these the ``best`` of each
    question's attempts, of these the ``top`` share; and of the chosen the ``turns`` that are trained on.

    An episode or a turn of which nobody can tell what these go by is left out. ``estimator`` makes the
    advantages, from all episodes of the file, whatever is chosen.
    """

    where: Condition | None
    best: Rank | None
    top: Rank | None
    turns: Condition | None
    estimator: Estimator

    @classmethod
    def read(
        cls,
        where: str | None = None,
        best: str | None = None,
        top: str | None = None,
        turns: str | None = None,
        estimator: str | Estimator = DEFAULT,
    ) -> Selection:
        """From texts, in the words of docs/export.md. SpecError, which names the option, for others."""
        values = episode_values()
        made = cls(
            where=None if where is None else Condition.read(where, kinds(values), "--where"),
            best=None if best is None else Rank.read(best, values, "--best"),
            top=None if top is None else Rank.read(top, values, "--top"),
            turns=None if turns is None else Condition.read(turns, kinds(TURN), "--turns"),
            estimator=resolve_estimator(estimator),
        )
        if made.best and (made.best.amount < 1 or made.best.amount % 1):
            raise SpecError(f"--best {best!r}: how many of a question's attempts is a whole number from 1")
        if made.top and not 0 < made.top.amount <= 1:
            raise SpecError(f"--top {top!r}: a share is above 0 and at most 1")
        return made

    def of(
        self, path: Path, left_out: Callable[[UnknownError], None] = lambda problem: None
    ) -> Iterator[Chosen]:
        """The chosen episodes of a file, in its order. The file is read twice, and not held in memory.

        ``left_out`` is told of each episode, and each turn of a chosen one, that is left out since a value
        that decides of it is not known.

        Raises DataError for what is no record, and SpecError where a filter leaves nothing, where a name is
        not known of an episode, and for protected questions.
        """
        lines = list(self._lines(path, left_out))
        if not lines:
            raise SpecError(f"{path} holds no episode; name a file that rollout, import or relabel wrote")
        chosen = {line.number for line in self._passing(lines)}
        advantages = _advantages(lines, self.estimator)
        for number, (_, episode) in enumerate(read_recordings(path), 1):
            if number in chosen:
                known = None if advantages is None else advantages[number - 1]
                place, line = f"{path}, line {number}", lines[number - 1]
                kept = tuple(self._kept(place, ToldEpisode(episode, line.split, known), left_out))
                yield Chosen(episode, place, line.leaf.group, line.split, known, kept)

    def _kept(
        self, place: str, told: ToldEpisode, left_out: Callable[[UnknownError], None]
    ) -> Iterator[bool]:
        """For each turn, whether it is trained on."""
        for turn in range(1, len(told.episode.turns) + 1):
            try:
                yield self.turns is None or self.turns(_lookup(TURN, (told, turn), place))
            except UnknownError as problem:
                left_out(problem)
                yield False

    def _lines(self, path: Path, left_out: Callable[[UnknownError], None]) -> Iterator[_Line]:
        """What is decided by, of each line of the file."""
        values = episode_values()
        for number, (settings, episode) in enumerate(read_recordings(path), 1):
            place = f"{path}, line {number}"
            if episode.question.protected:
                raise SpecError(
                    f"{place}: protected questions are for tests alone, and written to no training data"
                )
            try:
                told = ToldEpisode(episode, recorded_split(episode))
            except ValueError as problem:
                raise DataError(path, str(problem), number) from problem
            look = _lookup(values, told, place)
            ranks = dict[str, float]()
            try:
                if passes := self.where is None or self.where(look):
                    ranks = {rank.name: float(look(rank.name)) for rank in (self.best, self.top) if rank}
            except UnknownError as problem:
                passes = False
                left_out(problem)
            yield _Line(
                number,
                Leaf.of(compared(settings, episode), episode),
                passes,
                ranks,
                told.split,
                [hash(state) for state in turn_states(episode)] if self.estimator.needs_states else None,
            )

    def _passing(self, lines: Sequence[_Line]) -> list[_Line]:
        passing = [line for line in lines if line.passes]
        if not passing:
            if self.where is None:
                raise SpecError(
                    f"none of the {len(lines)} episodes has what they are ranked by: the scorer could not "
                    "read them, or they were aborted"
                )
            raise SpecError(f"--where {self.where.text!r} leaves none of the {len(lines)} episodes")
        if self.best:
            groups = defaultdict(list)
            for line in passing:
                groups[line.leaf.group].append(line)
            passing = [
                each for group in groups.values() for each in _most(group, self.best, self.best.amount)
            ]
        if self.top:
            passing = _most(passing, self.top, max(1, math.ceil(self.top.amount * len(passing) - 1e-9)))
        return passing


@dataclass(frozen=True, slots=True)
class _Line:
    """What is known of a line after the first reading."""

    number: int
    leaf: Leaf
    passes: bool
    ranks: dict[str, float]
    split: Split | None
    states: Sequence[Hashable] | None


def _lookup(values: Mapping[str, Value[T]], thing: T, place: str) -> Callable[[str], Any]:
    return lambda name: value_of(values, name, thing, place)


def _most(lines: Sequence[_Line], rank: Rank, count: float) -> list[_Line]:
    """Those of the highest values; among equal ones the first."""
    return sorted(lines, key=lambda line: -line.ranks[rank.name])[: int(count)]


def _advantages(lines: Sequence[_Line], estimator: Estimator) -> list[tuple[float, ...]] | None:
    """The advantages of each episode's turns, as the trainer has them: a turn that branches share has their
    mean. None where a line has no split.

    Raises SpecError for an estimator that ignores gains which were paid.
    """
    splits = [line.split for line in lines if line.split is not None]
    if len(splits) < len(lines):
        return None
    states = [line.states for line in lines if line.states is not None] if estimator.needs_states else None
    if not estimator.uses_gains and any(any(split.gains) for split in splits):
        raise SpecError(
            f"{estimator.name} takes the outcome alone, but these episodes were paid gains: choose an "
            "estimator that uses them, such as igpo-separate"
        )
    made = advantages(splits, [line.leaf for line in lines], estimator, states)
    return [tuple(own.tolist()) for own in made]
