"""From learning curves to figures with intervals over seeds (the statistics of rliable, 2108.13264)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from igpo_gym.benchmark.training.run import Outcome, Variant
from igpo_gym.statistics import CONFIDENCE, RESAMPLES, Estimate, FloatArray


def over_seeds(*columns: Sequence[float], statistic: Callable[..., Any]) -> Estimate:
    """A statistic of values by seed, with a percentile bootstrap interval over the seeds.

    ``statistic`` takes arrays of shape [..., seeds] and reduces the last axis. Undefined values make it so.
    """
    from scipy.stats import bootstrap

    arrays = [np.array(column, dtype=np.float64) for column in columns]
    value, seeds = float(statistic(*arrays)), len(arrays[0])
    if seeds < 2 or np.isnan(value):
        return Estimate(value, float("nan"), float("nan"), seeds)
    result = bootstrap(
        arrays,
        lambda *resampled, axis: statistic(*resampled),
        vectorized=True,
        paired=True,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    low, high = result.confidence_interval
    return Estimate(value, float(low), float(high), seeds, result.bootstrap_distribution)


def interquartile_mean(values: FloatArray) -> FloatArray:
    """The mean of the middle half of the last axis: neither of the best nor of the worst runs."""
    from scipy.stats import trim_mean

    return np.asarray(trim_mean(values, 0.25, axis=-1))


def chance(ours: FloatArray, theirs: FloatArray) -> FloatArray:
    """The share of pairs from the last axes in which ours is the greater, ties counting half."""
    pairs = ours[..., :, None] - theirs[..., None, :]
    return np.asarray(((np.sign(pairs) + 1) / 2).mean(axis=(-2, -1)))


def final(outcome: Outcome) -> float:
    """Validation F1 after the last update."""
    return outcome.curve[-1]["validation_f1"]


def along(outcome: Outcome) -> float:
    """The mean of validation F1 along the run: the area under the curve over updates, per update."""
    updates = np.array([point["update"] for point in outcome.curve])
    heights = np.array([point["validation_f1"] for point in outcome.curve])
    middles = (heights[1:] + heights[:-1]) / 2
    return float(np.diff(updates) @ middles / (updates[-1] - updates[0]))


def updates_to(outcome: Outcome, threshold: float) -> float:
    """The first validated update with at least that F1; infinite if there is none."""
    reached = (point["update"] for point in outcome.curve if point["validation_f1"] >= threshold)
    return next(reached, math.inf)


@dataclass(frozen=True, slots=True)
class Measure:
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
    return lambda outcome: outcome.curve[-1].get(f"validation_{name}", float("nan"))


# Scores, searches, tokens written and invalid messages are those of the last validation. The rest is of
# training, the mean over all updates.
MEASURES = (
    Measure("final_f1", "F1 at the end", final, score=True),
    Measure("mean_f1", "F1 along the run", along, score=True),
    Measure("final_em", "exact match at the end", _validated("em"), score=True),
    Measure("searches", "searches", _validated("searches")),
    Measure("completion_tokens", "tokens written", _validated("completion_tokens")),
    Measure("invalid", "invalid", _validated("invalid"), "percent"),
    Measure("guessed", "guesses", _trained("guessed"), "percent"),
    Measure("collapsed_groups", "collapsed groups", _trained("collapsed_groups"), "percent"),
    Measure("kl", "KL", _trained("kl")),
    Measure("share_scoring", "time on beliefs", _trained("share_scoring"), "percent"),
)


def by_variant(outcomes: Sequence[Outcome]) -> dict[Variant, list[Outcome]]:
    """The runs of each variant, by seed."""
    found: dict[Variant, list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.seed):
        found.setdefault(outcome.variant, []).append(outcome)
    return found


def estimates(outcomes: Sequence[Outcome], measure: Measure) -> dict[Variant, Estimate]:
    """The interquartile mean over seeds of a measure, for each variant."""
    return {
        variant: over_seeds([measure.of(run) for run in runs], statistic=interquartile_mean)
        for variant, runs in by_variant(outcomes).items()
    }


def improvement(
    outcomes: Sequence[Outcome], baseline: Variant, of: Callable[[Outcome], float] = final
) -> dict[Variant, Estimate]:
    """The chance that a run of a variant beats a run of the baseline, ties counting half."""
    runs = by_variant(outcomes)
    theirs = {run.seed: of(run) for run in runs[baseline]}
    found = {}
    for variant, own in runs.items():
        if variant != baseline:
            both = [(of(run), theirs[run.seed]) for run in own if run.seed in theirs]
            found[variant] = over_seeds(*zip(*both, strict=True), statistic=chance)
    return found


def reached(outcomes: Sequence[Outcome], threshold: float) -> dict[Variant, tuple[float, float]]:
    """For each variant the median of updates to a validation F1, and the share of runs that reached it."""
    found = {}
    for variant, runs in by_variant(outcomes).items():
        needed = np.array([updates_to(run, threshold) for run in runs])
        found[variant] = float(np.median(needed)), float(np.isfinite(needed).mean())
    return found


def curves(
    outcomes: Sequence[Outcome], x: str, y: str = "validation_f1"
) -> Mapping[Variant, list[tuple[float, Estimate]]]:
    """For each variant and validation, the mean of ``x`` and the interquartile mean of ``y`` over seeds.

    ``x`` is "update", "tokens" or "seconds". Validations that not all seeds have are left out.
    """
    found = {}
    for variant, runs in by_variant(outcomes).items():
        points = zip(*(run.curve for run in runs), strict=False)
        found[variant] = [
            (
                float(np.mean([each[x] for each in point])),
                over_seeds([each[y] for each in point], statistic=interquartile_mean),
            )
            for point in points
        ]
    return found
