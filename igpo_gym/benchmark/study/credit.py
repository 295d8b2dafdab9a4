"""Does credit predict training? Each credit measure of an arm against what training with it came to.

Arms that differ in what a turn is paid are the points: each is priced on the same recorded episodes, as it
reaches the estimator. Arms that differ in the estimator alone are left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from igpo_gym.benchmark.study.records import StudyRun
from igpo_gym.benchmark.study.verdicts import by_arm, ends
from igpo_gym.errors import DataError
from igpo_gym.statistics import rank_correlation, rank_permutation

POINTS = {
    "grpo": "igpo",
    "igpo": "igpo",
    "frozen": "igpo",
    "placebo": "igpo",
    "noise": "igpo",
    "permuted-3": "igpo-3",
    "last-gain": "igpo",
    "igpo-logprob": "igpo",
    "tips": "igpo",
}
"""The arms, each with the one that it is held against: what it trains to is its lead in F1 at the end over
igpo in the same world."""

MEASURES = {
    "auc": "AUC among turns of equal number",
    "r2": "R² of outcome and summed pay",
    "collapse": "collapsed groups",
    "hacking": "share of pay for hacking",
    "rank": "rank correlation with the true value",
}
"""The credit measures, and what they are called."""

FEWEST_POINTS = 8
"""Below so many points there is a scatter and no coefficient."""

CREDIT = "credit.json"
"""The file of the study's folder with the credit measures: by arm, then by measure."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A credit measure against the training result."""

    measure: str
    points: Mapping[str, tuple[float, float]]
    """By arm: the credit measure, and the training result."""

    @property
    def enough(self) -> bool:
        """Whether there is a coefficient."""
        return len(self.points) >= FEWEST_POINTS

    @property
    def rho(self) -> float:
        """Spearman's; nan below ``FEWEST_POINTS`` points."""
        return rank_correlation(*self._columns) if self.enough else math.nan

    @property
    def p(self) -> float:
        """Of the exact permutation test, two-sided; nan below ``FEWEST_POINTS`` points."""
        return rank_permutation(*self._columns) if self.enough else math.nan

    @property
    def _columns(self) -> tuple[np.ndarray, np.ndarray]:
        x, y = np.array(list(self.points.values()), dtype=np.float64).T
        return x, y


def predictions(credit: Mapping[str, Mapping[str, float]], runs: Sequence[StudyRun]) -> list[Prediction]:
    """Each credit measure with the points that have both numbers; none where no arm has them."""
    arms = by_arm(runs)
    results = {
        arm: fmean(ends(arms[arm])) - fmean(ends(arms[base]))
        for arm, base in POINTS.items()
        if arm in arms and base in arms
    }
    found = []
    for measure in MEASURES:
        told = {arm: credit.get(arm, {}).get(measure, math.nan) for arm in results}
        points = {arm: (x, results[arm]) for arm, x in told.items() if not math.isnan(x)}
        if points:
            found.append(Prediction(measure, points))
    return found


def read_credit(path: Path) -> dict[str, dict[str, float]]:
    """The credit measures of a file, which need not exist. Raises DataError for what is none of ours."""
    if not path.exists():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        found = {arm: {name: float(x) for name, x in own.items()} for arm, own in told.items()}
    except (AttributeError, TypeError, ValueError) as problem:
        raise DataError(path, f"no credit measures by arm ({problem!r})") from problem
    if unknown := (found.keys() - POINTS) | {
        name for own in found.values() for name in own.keys() - MEASURES
    }:
        raise DataError(
            path,
            f"unknown {', '.join(sorted(unknown))}; the arms are {', '.join(POINTS)}, and the measures "
            f"{', '.join(MEASURES)}",
        )
    return found
