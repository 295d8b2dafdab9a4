"""From learning curves to figures with intervals over seeds, and tests against a baseline.

All figures are means over seeds with Student's t intervals, and variants are compared seed by seed: the runs
of a seed meet the same questions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from igpo_gym.agents.training.alarms import ALARMS, Alarm, raised
from igpo_gym.benchmark.training.outcomes import Outcome, Variant
from igpo_gym.statistics import Estimate, auc, difference, holm, over_seeds, p_value, permutation


def final(outcome: Outcome) -> float:
    """Validation F1 after the last update."""
    return outcome.curve[-1]["validation_f1"]


def along(outcome: Outcome) -> float:
    """The mean of validation F1 along the run: the area under the curve over updates, per update."""
    updates = np.array([point["update"] for point in outcome.curve])
    heights = np.array([point["validation_f1"] for point in outcome.curve])
    middles = (heights[1:] + heights[:-1]) / 2
    return float(np.diff(updates) @ middles / (updates[-1] - updates[0]))


def along_tokens(outcome: Outcome, most: float) -> float:
    """The mean of validation F1 over the tokens sampled in training, from 0 to ``most`` of them.

    Between two validations F1 is taken to go along a line; of several at one number of tokens, as of a run
    that could not go on, the first is at the end of that line. nan where ``most`` is 0, or more than the run
    has.
    """
    tokens, heights = (
        np.array([point[name] for point in outcome.curve], dtype=np.float64)
        for name in ("tokens", "validation_f1")
    )
    if not 0 < most <= tokens[-1]:
        return math.nan
    tokens, firsts = np.unique(tokens, return_index=True)
    heights = heights[firsts]
    places = np.append(tokens[tokens < most], most)
    values = np.interp(places, tokens, heights)
    return float(np.diff(places) @ (values[1:] + values[:-1]) / 2 / most)


def updates_to(outcome: Outcome, threshold: float) -> float:
    """The first validated update with at least that F1; infinite if there is none."""
    reached = (point["update"] for point in outcome.curve if point["validation_f1"] >= threshold)
    return next(reached, math.inf)


@dataclass(frozen=True, slots=True)
class TrainingMeasure:
    """A figure of a run."""

    key: str
    title: str
    of: Callable[[Outcome], float]
    unit: str = "number"
    score: bool = False
    """Whether more of it is better; else it tells how the policy behaves."""


def _trained(name: str) -> Callable[[Outcome], float]:
    return lambda outcome: outcome.means.get(name, float("nan"))


def _validated(name: str) -> Callable[[Outcome], float]:
    def of(outcome: Outcome) -> float:
        known = (
            point[f"validation_{name}"] for point in outcome.curve[::-1] if f"validation_{name}" in point
        )
        return next(known, float("nan"))

    return of


# Scores, searches, tokens written and invalid messages are those of the last validation that was made. The
# rest is of training, the mean over all updates.
MEASURES = (
    TrainingMeasure("final_f1", "F1 at the end", final, score=True),
    TrainingMeasure("mean_f1", "F1 along the run", along, score=True),
    TrainingMeasure("final_em", "exact match at the end", _validated("em"), score=True),
    TrainingMeasure("tool_turns", "turns with tools", _validated("tool_turns")),
    TrainingMeasure("completion_tokens", "tokens written", _validated("completion_tokens")),
    TrainingMeasure("invalid", "invalid", _validated("invalid"), "percent"),
    TrainingMeasure("guessed", "guesses", _trained("guessed"), "percent"),
    TrainingMeasure("collapsed_groups", "collapsed groups", _trained("collapsed_groups"), "percent"),
    TrainingMeasure("kl", "KL", _trained("kl")),
    TrainingMeasure("share_scoring", "time on beliefs", _trained("share_scoring"), "percent"),
)


def by_variant(outcomes: Sequence[Outcome]) -> dict[Variant, list[Outcome]]:
    """The runs of each variant, by seed."""
    found: dict[Variant, list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.seed):
        found.setdefault(outcome.variant, []).append(outcome)
    return found


def estimates(outcomes: Sequence[Outcome], measure: TrainingMeasure) -> dict[Variant, Estimate]:
    """The mean over seeds of a measure, for each variant."""
    return {
        variant: over_seeds([measure.of(run) for run in runs])
        for variant, runs in by_variant(outcomes).items()
    }


@dataclass(frozen=True, slots=True)
class Versus:
    """A variant against the baseline, over the seeds that both have."""

    ahead: Estimate
    """How much greater the variant's mean is, seed by seed."""
    p: float
    """Of the paired t test; nan below five seeds."""
    corrected: float
    """The same by Holm's method, for all variants that are held against the baseline."""
    exact: float
    """Of the permutation test, which takes the runs for unpaired and assumes nothing else; not corrected."""
    chance: float
    """The share of pairs of runs in which the variant's is the greater, ties counting half."""


def against(
    outcomes: Sequence[Outcome], baseline: Variant, of: Callable[[Outcome], float] = final
) -> dict[Variant, Versus]:
    """How every other variant compares with the baseline."""
    runs = {variant: {run.seed: of(run) for run in own} for variant, own in by_variant(outcomes).items()}
    pairs = {}
    for variant, own in runs.items():
        if variant != baseline:
            seeds = sorted(own.keys() & runs[baseline].keys())
            pairs[variant] = [own[seed] for seed in seeds], [runs[baseline][seed] for seed in seeds]
    ahead = {variant: difference(*map(over_seeds, pair)) for variant, pair in pairs.items()}
    corrected = holm([p_value(each) for each in ahead.values()])
    return {
        variant: Versus(
            ahead[variant], p_value(ahead[variant]), p, permutation(*pair), auc(*map(np.array, pair))
        )
        for (variant, pair), p in zip(pairs.items(), corrected, strict=True)
    }


def reached(outcomes: Sequence[Outcome], threshold: float) -> dict[Variant, tuple[float, float]]:
    """For each variant the median of updates to a validation F1, and the share of runs that reached it."""
    found = {}
    for variant, runs in by_variant(outcomes).items():
        needed = np.array([updates_to(run, threshold) for run in runs])
        found[variant] = float(np.median(needed)), float(np.isfinite(needed).mean())
    return found


def curves(outcomes: Sequence[Outcome], x: str) -> Mapping[Variant, list[tuple[float, Estimate]]]:
    """For each variant and validation, the means of ``x`` and of F1 over seeds.

    ``x`` is "update", "tokens" or "seconds". Validations that not all seeds have are left out.
    """
    found = {}
    for variant, runs in by_variant(outcomes).items():
        points = zip(*(run.curve for run in runs), strict=False)
        found[variant] = [
            (
                float(np.mean([each[x] for each in point])),
                over_seeds([each["validation_f1"] for each in point]),
            )
            for point in points
        ]
    return found


def alarming(outcomes: Sequence[Outcome]) -> dict[Variant, dict[Alarm, list[int]]]:
    """For each variant the alarms that were raised in one of its runs, and the seeds of these runs."""
    found: dict[Variant, dict[Alarm, list[int]]] = {}
    for variant, runs in by_variant(outcomes).items():
        seeds = {alarm: [run.seed for run in runs if alarm in raised(run.peaks)] for alarm in ALARMS}
        found[variant] = {alarm: own for alarm, own in seeds.items() if own}
    return found


def alarm_curves(outcomes: Sequence[Outcome], alarm: Alarm) -> dict[Variant, list[tuple[float, Estimate]]]:
    """The alarm's curve over its threshold, mean over seeds, at the validations where all seeds have it."""
    name = f"alarm_{alarm.name}"
    found = {}
    for variant, runs in by_variant(outcomes).items():
        points = zip(*(run.curve for run in runs), strict=False)
        known = [point for point in points if all(name in each for each in point)]
        if known:
            found[variant] = [
                (point[0]["update"], over_seeds([each[name] / alarm.threshold for each in point]))
                for point in known
            ]
    return found
