"""The table of bounds by which a scorer is called fit. It was fixed before any scorer was measured.

>>> [bound.key for bound in BOUNDS if bound.about == "scorer"]
['gain', 'right_evidence', 'string_pays', 'never_helps']
>>> verdict({"gain": "holds", "right_evidence": "fails"}, questions=60)
'not fit'
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from igpo_gym.statistics import Estimate

FEWEST_QUESTIONS = 50
"""Below so many questions there is no verdict: an interval of a share may then be wider than a quarter."""

State: TypeAlias = Literal["holds", "fails", "open"]
"""Of a claim: its interval lies within the bound, or beyond it, or crosses it."""

Verdict: TypeAlias = Literal["fit", "fit with context=evidence", "not fit", "no verdict"]


@dataclass(frozen=True, slots=True)
class Bound:
    """What a measure must be."""

    key: str
    claim: str
    """What is claimed of the scorer where the bound is kept."""
    at_least: bool
    value: float
    about: Literal["scorer", "thoughts", "warning"]
    """``scorer``: without it the scorer is not fit. ``thoughts``: without it the scorer is fit with
    ``context=evidence`` alone. ``warning``: it changes no verdict."""

    def state(self, found: Estimate) -> State:
        """Whether the claim holds. A measure that is not defined fails; one of which all questions say the
        same is its value, and one without an interval for another reason is open.

        >>> [BOUNDS[0].state(Estimate(*each, 60)) for each in ((0.3, 0.2, 0.4), (0.1, 0.0, 0.2), (0, -1, 0))]
        ['holds', 'open', 'fails']
        """
        if math.isnan(found.value):
            return "fails"
        if math.isnan(found.low) and not found.unanimous:
            return "open"
        ends = (found.value,) * 2 if math.isnan(found.low) else (found.low, found.high)
        kept = [end >= self.value if self.at_least else end <= self.value for end in ends]
        return "holds" if all(kept) else "open" if any(kept) else "fails"


BOUNDS = (
    Bound("gain", "evidence raises the belief", True, 0.05, "scorer"),
    Bound("right_evidence", "the right evidence raises it, not any text", True, 0.75, "scorer"),
    Bound("string_pays", "the answer's string alone earns little", False, 0.5, "scorer"),
    Bound("never_helps", "there are few questions on which evidence never helps", False, 0.25, "scorer"),
    Bound("claim_pays", "an answer that a thought merely states earns little", False, 0.25, "thoughts"),
    Bound("contradiction_costs", "a wrong thought leaves most of the gain", False, 0.5, "thoughts"),
    Bound("wordings", "the wording of the probe changes little", True, 0.5, "warning"),
    Bound("order", "the order of passages changes little", True, 0.7, "warning"),
)
"""All bounds. Means and shares, except for the last two, which are rank correlations."""


def verdict(states: Mapping[str, State], questions: int) -> Verdict:
    """What the states of the claims come to, by key; claims that are not told do not count.

    A claim that fails decides. One that is open leaves no verdict, except where another one fails.

    >>> verdict({"gain": "holds", "claim_pays": "fails"}, questions=60)
    'fit with context=evidence'
    >>> verdict({"gain": "holds"}, questions=49), verdict({"gain": "open"}, questions=60)
    ('no verdict', 'no verdict')
    """
    if questions < FEWEST_QUESTIONS:
        return "no verdict"
    scorer, thoughts = (
        {states[each.key] for each in BOUNDS if each.about == about and each.key in states}
        for about in ("scorer", "thoughts")
    )
    if "fails" in scorer:
        return "not fit"
    if "open" in scorer:
        return "no verdict"
    return "fit" if thoughts <= {"holds"} else "fit with context=evidence"
