"""What the training benchmark leaves behind: the report, and its figures for other programs."""

from __future__ import annotations

from dataclasses import asdict

from igpo_gym.benchmark.report import csv_text, json_text, page_files
from igpo_gym.benchmark.training.measures import MEASURES, estimates
from igpo_gym.benchmark.training.page import page
from igpo_gym.benchmark.training.run import TrainingResult


def training_files(result: TrainingResult) -> dict[str, str]:
    """The texts of all files, by name.

    ``report.html`` for people, its tables in ``tables.md`` for documents; ``measures.csv`` with every
    estimate, ``curves.csv`` with every validation of every run, and ``training.json`` with all of it.
    """
    points = [
        {"variant": str(outcome.variant), "seed": outcome.seed, **point}
        for outcome in result.outcomes
        for point in outcome.curve
    ]
    rows = [
        {
            "measure": m.key,
            "variant": str(v),
            "value": e.value,
            "low": e.low,
            "high": e.high,
            "seeds": e.units,
        }
        for m in MEASURES
        for v, e in estimates(result.outcomes, m).items()
    ]
    return page_files(page(result)) | {
        "curves.csv": csv_text(points, tuple(dict.fromkeys(name for point in points for name in point))),
        "measures.csv": csv_text(rows, tuple(rows[0])),
        "training.json": json_text(
            {
                "settings": result.settings,
                "runs": [asdict(outcome) for outcome in result.outcomes],
                "estimates": rows,
            }
        ),
    }
