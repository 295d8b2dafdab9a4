"""Rollouts that branch: more attempts at a question from a state of an episode that has ended."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from igpo_gym.agents.rollouts.records import set_of
from igpo_gym.episode import Branch, EndReason, Episode
from igpo_gym.errors import SpecError


@dataclass(frozen=True, slots=True)
class Branching:
    """How many branches each episode gets, and from which of its states.

    Of a group of G episodes with B branches each, attempts 0 to G-1 are those that begin at the prompt, and
    ``G + B * a`` is the first branch of attempt ``a``. A question that comes again is numbered on from there.

    >>> Branching.parse("belief:2")
    Branching(where='belief', count=2)
    >>> Branching.parse("belief:2").leaves(4)
    12
    """

    where: str
    """A name in :data:`PLACES`."""
    count: int

    @classmethod
    def parse(cls, text: str) -> Branching:
        """From ``belief:2`` or ``even:2``. Raises SpecError for anything else."""
        where, _, number = text.partition(":")
        if where not in PLACES or not number.isascii() or not number.isdigit() or int(number) < 1:
            forms = " or ".join(f"{name}:2" for name in PLACES)
            raise SpecError(
                f"cannot branch by {text!r}: write {forms}, with how many branches an episode gets"
            )
        return cls(where, int(number))

    def leaves(self, group_size: int) -> int:
        """How many episodes a group has, branches included."""
        return group_size * (1 + self.count)

    def of(self, episode: Episode, group_size: int) -> list[Episode]:
        """The branches of an ended episode, which are still to be played; none of an aborted one or a branch.

        Raises SpecError where places are chosen by beliefs, and there are none.
        """
        if episode.branch is not None or episode.end is EndReason.ABORTED or not episode.turns:
            return []
        place = episode.attempt % self.leaves(group_size)
        first = episode.attempt - place + group_size + self.count * place
        turns = PLACES[self.where](episode, self.count)
        return [episode.branched(turn, first + number) for number, turn in enumerate(turns)]


def by_belief(episode: Episode, count: int) -> list[int]:
    """Before the turn whose absolute gain of belief is the largest, all branches; the first of equals.

    The last turn has no gain; an episode of one turn branches at its prompt.
    """
    if not episode.beliefs:
        raise SpecError("branches by belief need a scorer, whose beliefs say where: give one, or take even:2")
    beliefs = [belief.prob for belief in episode.beliefs[: len(episode.turns)]]
    gains = np.abs(np.diff(beliefs))
    return [int(gains.argmax()) if len(gains) else 0] * count


def evenly(episode: Episode, count: int) -> list[int]:
    """Spread over the episode: branch j of B after ``floor(j * T / (B + 1))`` of its T turns."""
    return [number * len(episode.turns) // (count + 1) for number in range(1, count + 1)]


PLACES: Mapping[str, Callable[[Episode, int], list[int]]] = {"belief": by_belief, "even": evenly}
"""After how many turns each branch of an ended episode begins."""


def grouped(episodes: Iterable[Episode], size: int) -> list[list[Episode]]:
    """The episodes of each group of at most ``size`` leaves, by question and the numbers of their attempts.

    >>> from igpo_gym.episode import Question
    >>> question = Question("q", "Where?", ("Danzig",))
    >>> played = [Episode(question, (), attempt=number) for number in (0, 2, 3)]
    >>> [[episode.attempt for episode in group] for group in grouped(played, 3)]
    [[0, 2], [3]]
    """
    found: dict[tuple[str, int], list[Episode]] = {}
    for episode in episodes:
        found.setdefault((episode.question.id, episode.attempt // size), []).append(episode)
    return list(found.values())


def compared(settings: Mapping[str, Any], episode: Episode) -> Hashable:
    """Whose attempts a recorded one is compared with: those at one question of one set, in one step of a
    trainer."""
    steps = map(str, steps_of(settings, episode))
    return (set_of(settings), episode.question.id, *steps)


def steps_of(settings: Mapping[str, Any], episode: Episode) -> tuple[Any, Any]:
    """The step of a trainer, as a record's settings and as its episode tell it; None where they do not."""
    return settings.get("step"), episode.extra.get("step")


class Leaf(NamedTuple):
    """An episode, as far as whose turns it has."""

    group: Hashable
    attempt: int
    turns: int
    branch: Branch | None

    @classmethod
    def of(cls, group: Hashable, episode: Episode) -> Leaf:
        """That of an episode of a group."""
        return cls(group, episode.attempt, len(episode.turns), episode.branch)


def owners(leaves: Iterable[Leaf]) -> npt.NDArray[np.int64]:
    """For each turn of all episodes, [turns], the place of the turn that it is: its own, or, where a branch
    shares it, that of the episode which played it first, if that stands before the branch and has the turn.

    >>> owners([Leaf("q", 0, 3, None), Leaf("q", 1, 4, Branch(0, 2)), Leaf("other", 1, 1, Branch(0, 1))])
    array([0, 1, 2, 0, 1, 5, 6, 7])
    >>> owners([Leaf("q", 0, 1, None), Leaf("q", 1, 2, Branch(0, 2))])
    array([0, 1, 2])
    """
    places: list[int] = []
    known: dict[tuple[Hashable, int], range] = {}
    for leaf in leaves:
        own = range(len(places), len(places) + leaf.turns)
        left, shared = range(0), 0
        if leaf.branch is not None:
            left, shared = known.get((leaf.group, leaf.branch.attempt), left), leaf.branch.turn
        if shared > min(len(left), len(own)):  # a record that does not fit
            shared = 0
        places += [*(places[place] for place in left[:shared]), *own[shared:]]
        known[leaf.group, leaf.attempt] = own
    return np.array(places, dtype=np.int64)
