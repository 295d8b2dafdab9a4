"""Draw the study's learning curves: validation F1 over the tokens that were sampled, means and bands.

``python scripts/study_picture.py`` reads docs/study/runs.jsonl and writes docs/figures/study.svg. Needs
matplotlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean

from igpo_gym.benchmark.charts import line_figure
from igpo_gym.benchmark.study.records import StudyRun, read_runs
from igpo_gym.benchmark.study.verdicts import by_arm
from igpo_gym.statistics import FEWEST, Estimate, over_seeds

DOCS = Path(__file__).parents[1] / "docs"


def curve(runs: list[StudyRun]) -> list[tuple[float, Estimate]]:
    """At each validation the mean number of tokens, in thousands, and F1 over seeds."""
    points = zip(*(run.outcome.curve for run in runs), strict=True)
    return [
        (fmean(each["tokens"] for each in at) / 1000, over_seeds([each["validation_f1"] for each in at]))
        for at in points
    ]


def main() -> None:
    """Draw the arms that share one start and one mixture of hops, and have enough seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=DOCS / "study" / "runs.jsonl")
    parser.add_argument("--out", type=Path, default=DOCS / "figures" / "study.svg")
    given = parser.parse_args()
    arms = by_arm(list(read_runs(given.runs)))
    shown = ("grpo", "igpo", "igpo-joint", "placebo", "noise", "last-gain", "frozen")
    curves = {name: curve(list(arms[name])) for name in shown if len(arms.get(name, ())) >= FEWEST}
    figure = line_figure({"thousand tokens": curves}, "validation F1", None)
    figure.set_size_inches(7.2, 3.6)
    figure.savefig(given.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
