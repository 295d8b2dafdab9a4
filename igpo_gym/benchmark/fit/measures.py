"""What is measured of a scorer's beliefs, each with its interval over the questions.

A *gain* is a belief minus that in the bare prompt, both probabilities (``Belief.prob``). What evidence earns
is measured against foreign passages of the same length, not against no passages.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from igpo_gym.episode import Question
from igpo_gym.statistics import (
    ANYTHING,
    CORRELATION,
    SHARE,
    Bounds,
    Estimate,
    Sample,
    Statistic,
    estimate,
    mean,
    rank_correlation,
    ratio,
)

Beliefs: TypeAlias = Mapping[str, float]
"""A question's beliefs as probabilities, by the names of :func:`igpo_gym.benchmark.fit.cases.requests`."""


@dataclass(frozen=True, slots=True)
class FitMeasure:
    """One thing that is measured."""

    key: str
    meaning: str
    """What it is, in words."""
    sample: Callable[[Question, Beliefs], tuple[float, ...] | None]
    """What a question says to it; None where it says nothing."""
    statistic: Statistic = mean
    bounds: Bounds = ANYTHING

    def of(self, questions: Sequence[Question], beliefs: Sequence[Beliefs]) -> Estimate:
        """The measure over the questions that say something to it."""
        found = (self.sample(*pair) for pair in zip(questions, beliefs, strict=True))
        samples: list[Sample] = [tuple(np.array([x]) for x in each) for each in found if each is not None]
        return estimate(samples, self.statistic, self.bounds)


def gain(beliefs: Beliefs, wording: str = "") -> float:
    """What the gold evidence adds to the belief; ``wording`` is "", " 1" or " 2"."""
    return beliefs[f"gold{wording}"] - beliefs[f"bare{wording}"]


def _earned(beliefs: Beliefs) -> float:
    return beliefs["gold"] - beliefs["foreign"]


def _wins(beliefs: Beliefs, other: str) -> float:
    return 0.5 + 0.5 * float(np.sign(beliefs["gold"] - beliefs[other]))


def _never_helps(beliefs: Beliefs) -> float:
    named = ("gold", "reversed", "gold 1", "gold 2")
    pairs = [(name, f"bare{name.removeprefix('gold')}" if name != "reversed" else "bare") for name in named]
    return float(not any(beliefs[there] > beliefs[before] for there, before in pairs if there in beliefs))


def _worded(number: int) -> Callable[[Question, Beliefs], tuple[float, ...] | None]:
    def sample(question: Question, beliefs: Beliefs) -> tuple[float, ...] | None:
        return (gain(beliefs), gain(beliefs, f" {number}")) if f"gold {number}" in beliefs else None

    return sample


def _ordered(question: Question, beliefs: Beliefs) -> tuple[float, ...] | None:
    return (beliefs["gold"], beliefs["reversed"]) if len(question.evidence) > 1 else None


MEASURES = (
    FitMeasure(
        "gain",
        "mean belief with the gold evidence minus that in the bare prompt",
        lambda question, beliefs: (gain(beliefs),),
    ),
    FitMeasure(
        "foreign_gain",
        "the same for foreign evidence",
        lambda question, beliefs: (beliefs["foreign"] - beliefs["bare"],),
    ),
    FitMeasure(
        "right_evidence",
        "share of questions whose gold evidence is believed more than foreign evidence; ties count half",
        lambda question, beliefs: (_wins(beliefs, "foreign"),),
        bounds=SHARE,
    ),
    FitMeasure(
        "beats_string",
        "share of questions whose gold evidence is believed more than foreign evidence with the answer in it",
        lambda question, beliefs: (_wins(beliefs, "planted"),),
        bounds=SHARE,
    ),
    FitMeasure(
        "string_pays",
        "what the answer's string in foreign evidence earns beyond the foreign evidence, over what the gold "
        "evidence earns beyond it",
        lambda question, beliefs: (beliefs["planted"] - beliefs["foreign"], _earned(beliefs)),
        ratio,
    ),
    FitMeasure(
        "never_helps",
        "share of questions on which gold evidence raises the belief in no wording of the probe and in no "
        "order",
        lambda question, beliefs: (_never_helps(beliefs),),
        bounds=SHARE,
    ),
    FitMeasure(
        "claim_pays",
        "what a thought that states a wrong answer adds to the belief in that answer, over what the gold "
        "evidence earns",
        lambda question, beliefs: (beliefs["claimed"] - beliefs["unclaimed"], _earned(beliefs)),
        ratio,
    ),
    FitMeasure(
        "contradiction_costs",
        "what such a thought takes from the belief in the gold answer beside its evidence, over what that "
        "earns",
        lambda question, beliefs: (beliefs["gold"] - beliefs["contradicted"], _earned(beliefs)),
        ratio,
    ),
    FitMeasure(
        "wordings",
        "rank correlation of the gain with that in a second wording of the probe",
        _worded(1),
        rank_correlation,
        CORRELATION,
    ),
    FitMeasure(
        "wordings_2",
        "the same for a third wording",
        _worded(2),
        rank_correlation,
        CORRELATION,
    ),
    FitMeasure(
        "order",
        "rank correlation of the beliefs with the gold evidence in order and in the opposite order, where "
        "there are several passages",
        _ordered,
        rank_correlation,
        CORRELATION,
    ),
    FitMeasure(
        "length",
        "rank correlation of the gain with the characters of the first answer",
        lambda question, beliefs: (gain(beliefs), float(len(question.answers[0]))),
        rank_correlation,
        CORRELATION,
    ),
    FitMeasure(
        "aliases",
        "rank correlation of the gain with the number of accepted answers",
        lambda question, beliefs: (gain(beliefs), float(len(question.answers))),
        rank_correlation,
        CORRELATION,
    ),
)
"""Everything that is measured, but for what hangs on the answer's script."""


def script(answer: str) -> str:
    """In what an answer is written: ``digits``, ``ASCII``, ``Latin``, or another alphabet by its name.

    >>> [script(each) for each in ("1927", "Danzig", "Gdańsk", "Данциг", "ABBA 2")]
    ['digits', 'ASCII', 'Latin', 'Cyrillic', 'ASCII']
    """
    letters = [sign for sign in answer if sign.isalpha()]
    if not letters:
        return "digits" if any(sign.isdigit() for sign in answer) else "signs"
    if answer.isascii():
        return "ASCII"
    names = {unicodedata.name(sign, "OTHER").partition(" ")[0] for sign in letters}
    other = sorted(names - {"LATIN"})
    return other[0].capitalize() if other else "Latin"


def by_script(questions: Sequence[Question], beliefs: Sequence[Beliefs]) -> dict[str, Estimate]:
    """The mean gain for each script of the first answer, the most frequent first."""
    gains: dict[str, list[float]] = {}
    for question, each in zip(questions, beliefs, strict=True):
        gains.setdefault(script(question.answers[0]), []).append(gain(each))
    ordered = sorted(gains.items(), key=lambda item: -len(item[1]))
    return {name: estimate([(np.array([x]),) for x in found], mean) for name, found in ordered}
