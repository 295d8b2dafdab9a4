"""Which intervals over few training runs cover what they should: ``python scripts/interval_coverage.py``.

Draws runs from distributions like those of recorded ones (F1 for each of four numbers of hops, bounded, what
the tasks of a run have in common skewed), makes each interval, and counts how often it holds the truth, which
is that of 200,000 runs. Prints a table in Markdown: the lowest coverage over all distributions. Seeded.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from igpo_gym.benchmark.study.measures import (
    Figure,
    average,
    improvement,
    iqm,
    pseudo_values,
    reaches,
    score_ends,
)
from igpo_gym.statistics import FloatArray, auc

Draw = Callable[[np.random.Generator, int], FloatArray]
"""Draws so many runs, [runs, tasks]."""
Pair: TypeAlias = tuple[Draw, ...]
"""The distributions of one arm, or of two."""
Ends: TypeAlias = tuple[FloatArray, FloatArray]
"""Intervals: their low ends and their high ends."""

LEVELS = np.array([0.85, 0.60, 0.40, 0.20])
"""F1 at 1 to 4 hops."""


@dataclass(frozen=True)
class Runs:
    """A distribution of runs: what is the same for a run's tasks, then noise of each task, then [0, 1]."""

    shift: float
    spread: float
    skew: float
    """0: normal; above: a gamma distribution whose long tail points down; below: up."""

    def __call__(self, rng: np.random.Generator, size: int) -> FloatArray:
        """Draw so many runs, [runs, tasks]."""
        if self.skew:
            shape = (2 / self.skew) ** 2
            own = -np.sign(self.skew) * (rng.gamma(shape, size=size) - shape) / shape**0.5
        else:
            own = rng.standard_normal(size)
        own = self.shift + self.spread * own
        noise = 0.04 * rng.standard_normal((size, len(LEVELS)))
        return np.clip(LEVELS + own[:, None] + noise, 0.0, 1.0)


DISTRIBUTIONS: dict[str, Draw] = {
    "normal": Runs(0.0, 0.03, 0.0),
    "long tail down": Runs(0.0, 0.04, 1.5),
    "long tail up": Runs(0.0, 0.04, -1.5),
    "near the bound": Runs(0.12, 0.05, 1.0),
}
ONE: dict[str, Pair] = {name: (draw,) for name, draw in DISTRIBUTIONS.items()}
TWO: dict[str, Pair] = {
    "equal": (Runs(0.0, 0.03, 0.0), Runs(0.0, 0.03, 0.0)),
    "a lead of 0.04": (Runs(0.04, 0.03, 0.0), Runs(0.0, 0.03, 0.0)),
    "skewed, spreads differ": (Runs(0.04, 0.02, 1.5), Runs(0.0, 0.05, 1.5)),
    "tails apart": (Runs(0.04, 0.04, 1.5), Runs(0.0, 0.04, -1.5)),
}
SIZES = (5, 6, 8, 10)
DRAWS = 400
"""Of a bootstrap."""


def percentile(
    figure: Callable[..., FloatArray], samples: list[FloatArray], rng: np.random.Generator
) -> Ends:
    """Rliable's: the percentile bootstrap, runs drawn anew within each task. Samples are [runs, tasks]."""
    drawn = []
    for each in samples:
        places = rng.integers(len(each), size=(DRAWS, *each.shape))
        drawn.append(np.take_along_axis(each[None], places, axis=1))
    low, high = np.quantile(figure(*drawn), (0.025, 0.975))
    return low, high


def lead(figure: Figure) -> Callable[[FloatArray, FloatArray], FloatArray]:
    """The difference of a figure of two arms."""
    return lambda ours, theirs: figure(ours) - figure(theirs)


def by_t(figure: Figure) -> Callable[..., Ends]:
    """The intervals of a figure, or of the difference of two arms; samples are [trials, runs, tasks]."""

    def ends(*samples: FloatArray) -> Ends:
        value = figure(samples[0]) - (figure(samples[1]) if len(samples) > 1 else 0.0)
        reach = reaches([pseudo_values(each, figure) for each in samples])
        return value - reach, value + reach

    return ends


def by_score(ours: FloatArray, theirs: FloatArray) -> Ends:
    """The intervals of probabilities of improvement; samples are [trials, runs, tasks]."""
    found = [score_ends(float(value), ours.shape[1], theirs.shape[1]) for value in improvement(ours, theirs)]
    low, high = np.array(found).T
    return low, high


def truth(figure: Callable[..., FloatArray], samples: list[FloatArray]) -> float:
    """The figure of very many runs."""
    if figure is improvement:
        return float(np.mean([auc(x, y) for x, y in zip(samples[0].T, samples[1].T, strict=True)]))
    return float(figure(*samples))


def coverage(
    figure: Callable[..., FloatArray],
    interval: Callable[..., Ends] | None,
    draws: Pair,
    size: int,
    trials: int,
) -> float:
    """How often an interval (None: the percentile bootstrap) holds the truth."""
    rng = np.random.default_rng(size)
    expected = truth(figure, [draw(rng, 200_000) for draw in draws])
    samples = [draw(rng, trials * size).reshape(trials, size, -1) for draw in draws]
    if interval is not None:
        low, high = interval(*samples)
    else:
        low, high = np.array([percentile(figure, list(each), rng) for each in zip(*samples, strict=True)]).T
    return float(((low <= expected) & (expected <= high)).mean())


FIGURES: dict[str, tuple[Callable[..., FloatArray], Callable[..., Ends], dict[str, Pair]]] = {
    "mean": (average, by_t(average), ONE),
    "interquartile mean": (iqm, by_t(iqm), ONE),
    "difference of means": (lead(average), by_t(average), TWO),
    "difference of interquartile means": (lead(iqm), by_t(iqm), TWO),
    "probability of improvement": (improvement, by_score, TWO),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=4000, help="of the intervals that are used")
    parser.add_argument("--bootstraps", type=int, default=500, help="trials of the percentile bootstrap")
    options = parser.parse_args()
    print("| figure | interval | " + " | ".join(f"{size} runs" for size in SIZES) + " | lowest at |")
    print("|---|---|" + "---|" * (len(SIZES) + 1))
    for name, (figure, interval, cases) in FIGURES.items():
        for kind, chosen, trials in (
            ("here", interval, options.trials),
            ("percentile bootstrap", None, options.bootstraps),
        ):
            found = {
                case: [coverage(figure, chosen, draws, size, trials) for size in SIZES]
                for case, draws in cases.items()
            }
            cells = [f"{100 * min(column):.1f}%" for column in zip(*found.values(), strict=True)]
            worst = min(found, key=lambda case: min(found[case]))
            print(f"| {name} | {kind} | {' | '.join(cells)} | {worst} |", flush=True)


if __name__ == "__main__":
    main()
