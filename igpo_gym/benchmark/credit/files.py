"""What the credit benchmark leaves behind: the report, and its figures for other programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from igpo_gym.benchmark.credit.page import page
from igpo_gym.benchmark.credit.run import CreditResult
from igpo_gym.benchmark.report import csv_text, json_text, page_files


def credit_files(result: CreditResult) -> dict[str, str]:
    """The texts of all files, by name.

    ``report.html`` for people, its tables in ``tables.md`` for documents; ``measures.csv`` and
    ``credit.json`` with every estimate; ``turns.csv`` with every turn, its label and what each variant pays.
    """
    rows = list(_estimates(result))
    turns = list(_turns(result))
    return page_files(page(result)) | {
        "measures.csv": csv_text(rows, tuple(rows[0])),
        "turns.csv": csv_text(turns, (*_TURN, *result.plays)),
        "credit.json": json_text(
            {
                "settings": result.settings,
                "too_long": result.too_long,
                "measures": {measure.key: measure.meaning for measure in result.measures},
                "estimates": rows,
                "costs": {
                    name: {"tokens": cost.tokens, "milliseconds": cost.milliseconds}
                    for name, cost in result.costs.items()
                },
            }
        ),
    }


def _estimates(result: CreditResult) -> Iterator[dict[str, Any]]:
    for measure in result.measures:
        for name, found in result.estimates[measure.key].items():
            yield {
                "measure": measure.key,
                "variant": name,
                "value": found.value,
                "low": found.low,
                "high": found.high,
                "questions": found.units,
            }


_TURN = ("question", "agent", "member", "turn", "label", "known", "evidence")


def _turns(result: CreditResult) -> Iterator[dict[str, Any]]:
    pays = {
        name: {play.trajectory.key: play.shaping for plays in groups for play in plays}
        for name, groups in result.plays.items()
    }
    for trajectory in (each for group in result.questions for each in group):
        for number, turn in enumerate(trajectory.labels):
            yield {
                **dict(zip(_TURN[:3], trajectory.key, strict=True)),
                "turn": number + 1,
                "label": turn.label,
                "known": turn.known,
                "evidence": len(trajectory.episode.question.evidence),
                **{
                    name: float(shaping[trajectory.key][number])
                    for name, shaping in pays.items()
                    if trajectory.key in shaping
                },
            }
