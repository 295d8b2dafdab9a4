"""The turns that a variant misprices most, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from igpo_gym.benchmark.credit.labels import USEFUL, USELESS, Label
from igpo_gym.benchmark.credit.pricing import Plays
from igpo_gym.benchmark.credit.trajectories import Trajectory
from igpo_gym.data.protection import shown
from igpo_gym.tools import queries


@dataclass(frozen=True, slots=True)
class PricedTurn:
    """One turn and its pay."""

    question: str
    answer: str
    agent: str
    label: str
    """With how much of the evidence is in hand after it."""
    query: str
    found: tuple[str, ...]
    """The titles of the passages found."""
    pay: float
    trajectory: Trajectory = field(repr=False)
    """Whole, texts of protected questions too: not to be shown."""
    turn: int
    """Its number, from 1."""


def mispriced(groups: Sequence[Plays], count: int = 5) -> tuple[list[PricedTurn], list[PricedTurn]]:
    """The useful searches that are paid least, and the useless or hacking turns that are paid most.

    At most one of each question.
    """
    found: dict[bool, dict[str, PricedTurn]] = {True: {}, False: {}}
    for play in (play for plays in groups for play in plays):
        for turn, pay in enumerate(play.shaping):
            label = play.trajectory.labels[turn].label
            useful = label in USEFUL
            if not useful and label not in _WORTHLESS:
                continue
            example = _example(play.trajectory, turn, float(pay))
            worst = found[useful].setdefault(example.question, example)
            if (pay < worst.pay) if useful else (pay > worst.pay):
                found[useful][example.question] = example
    least = sorted(found[True].values(), key=lambda example: example.pay)
    most = sorted(found[False].values(), key=lambda example: -example.pay)
    return least[:count], most[:count]


_WORTHLESS: frozenset[Label] = USELESS | {"hacking"}


def _example(trajectory: Trajectory, turn: int, pay: float) -> PricedTurn:
    episode, label = trajectory.episode, trajectory.labels[turn]
    played = episode.turns[turn]
    question = episode.question
    return PricedTurn(
        question=shown(question, question.text),
        answer=shown(question, question.answers[0]),
        agent=trajectory.agent,
        label=f"{label.label}, {label.known} of {len(question.evidence)} known",
        query="; ".join(shown(question, query) for query in queries(played.action)),
        found=tuple(shown(question, passage.title) for passage in played.passages),
        pay=pay,
        trajectory=trajectory,
        turn=turn + 1,
    )
