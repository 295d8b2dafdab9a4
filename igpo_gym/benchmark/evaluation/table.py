"""The table of an evaluation: every measure on every set, with intervals over questions, and the average."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from igpo_gym.agents.rollouts.summary import Values
from igpo_gym.benchmark.evaluation.measures import Measure
from igpo_gym.benchmark.report import Cell, Table, csv_text, json_text, markdown_table
from igpo_gym.episode import EndReason, Episode
from igpo_gym.errors import SpecError
from igpo_gym.statistics import Estimate, average, mean_over

FORMATS = (".md", ".csv", ".json")
"""The forms in which a table is written, by the ending of the file's name."""


@dataclass(frozen=True, slots=True)
class SetScores:
    """What the episodes of one set say."""

    name: str
    """The source of its questions where no other set has it, else its spec, with the source if need be."""
    spec: str
    questions: int
    episodes: int
    estimates: Mapping[str, Estimate]
    """By measure, the mean over its episodes with its 95% interval over questions; what no episode tells is
    left out."""


@dataclass(frozen=True, slots=True)
class Scores:
    """An evaluation's table."""

    measures: tuple[Measure, ...]
    sets: tuple[SetScores, ...]

    @property
    def average(self) -> dict[str, Estimate]:
        """The mean over sets of each measure that all of them have: each set counts alike (macro)."""
        names = [each.name for each in self.measures if all(each.name in one.estimates for one in self.sets)]
        return {name: average([one.estimates[name] for one in self.sets]) for name in names}

    @property
    def told(self) -> list[Measure]:
        """The measures that say something: some set has them, and reasons to end that occurred."""
        return [
            each
            for each in self.measures
            if any(each.name in one.estimates for one in self.sets)
            and (each.name not in _ENDS or any(one.estimates[each.name].value > 0 for one in self.sets))
        ]


def tabulate(
    recordings: Iterable[tuple[str, Episode]], measures: Sequence[Measure], order: Sequence[str] = ()
) -> Scores:
    """The table of ended episodes, each with the name of the set that it belongs to.

    A set whose questions come from several sources (as the files of a trainer hold them) has a column for
    each source. Sets come in the ``order`` of their names. No episode is held in memory.

    >>> from igpo_gym.benchmark.evaluation.measures import measures as usual
    >>> from igpo_gym.episode import EndReason, Question
    >>> made = Episode(Question("1", "Where?", ("Danzig",)), (), end=EndReason.TURNS_EXHAUSTED)
    >>> tabulate([("mine", made)], usual()).sets[0].estimates["em"]
    Estimate(value=0.0, low=nan, high=nan, units=1)
    """
    found: dict[tuple[str, str], dict[str, Values]] = {}
    episodes: dict[tuple[str, str], list[str]] = {}
    for name, episode in recordings:
        row = name, episode.question.source
        episodes.setdefault(row, []).append(episode.question.id)
        values = found.setdefault(row, {})
        for measure in measures:
            value = measure.value(episode)
            if value is not None:
                values.setdefault(measure.name, Values()).add(value, episode.question.id)
    sets = tuple(
        SetScores(
            label,
            row[0],
            len(set(episodes[row])),
            len(episodes[row]),
            {
                each.name: mean_over(of.values, of.questions, each.bounds)
                for each in measures
                if (of := found[row].get(each.name))
            },
        )
        for row, label in _labels(sorted(found, key=lambda row: _place(order, row[0]))).items()
    )
    return Scores(tuple(measures), sets)


def _place(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _labels(rows: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """What each row of a spec and a source is called."""
    specs, sources = [spec for spec, _ in rows], [source for _, source in rows]
    labels = {}
    for spec, source in rows:
        plain = spec if specs.count(spec) == 1 else f"{spec}: {source}"
        labels[spec, source] = source if source and sources.count(source) == 1 else plain
    return labels


def as_table(scores: Scores) -> Table:
    """The table for people: a row for each measure, a column for each set, and the average of several."""
    several = len(scores.sets) > 1
    columns = [one.estimates for one in scores.sets] + ([scores.average] if several else [])
    header = ("measure", *(one.name for one in scores.sets), *(["average"] if several else []))
    counts = [Cell("questions"), *(Cell(str(one.questions)) for one in scores.sets)]
    rows = [tuple(counts + [Cell(str(sum(one.questions for one in scores.sets)))] * several)]
    rows += [
        (Cell(measure.name), *(shown(column.get(measure.name)) for column in columns))
        for measure in scores.told
    ]
    return Table(header, tuple(rows))


def shown(estimate: Estimate | None) -> Cell:
    """An estimate with its interval; nothing where it is not defined."""
    if estimate is None or math.isnan(estimate.value):
        return Cell("")
    ends = "" if math.isnan(estimate.low) else f"({estimate.low:.3f} to {estimate.high:.3f})"
    return Cell(f"{estimate.value:.3f}", ends)


def as_rows(scores: Scores) -> list[dict[str, Any]]:
    """A row for each set and measure, and for the average of several sets: mean, interval, counts."""
    rows = [
        {
            "set": one.name,
            "measure": name,
            **_figures(found),
            "questions": one.questions,
            "episodes": one.episodes,
        }
        for one in scores.sets
        for name, found in one.estimates.items()
    ]
    if len(scores.sets) > 1:
        counts = {
            "questions": sum(one.questions for one in scores.sets),
            "episodes": sum(one.episodes for one in scores.sets),
        }
        rows += [
            {"set": "average", "measure": name, **_figures(found), **counts}
            for name, found in scores.average.items()
        ]
    return rows


def as_json(scores: Scores) -> dict[str, Any]:
    """All figures by set and measure."""
    return {
        "measures": {each.name: each.meaning for each in scores.measures},
        "sets": [
            {
                "set": one.name,
                "spec": one.spec,
                "questions": one.questions,
                "episodes": one.episodes,
                "estimates": {name: _figures(found) for name, found in one.estimates.items()},
            }
            for one in scores.sets
        ],
        "average": {name: _figures(found) for name, found in scores.average.items()},
    }


def _figures(estimate: Estimate) -> dict[str, float]:
    return {"mean": estimate.value, "low": estimate.low, "high": estimate.high}


def in_format(file: Path, table: Table, rows: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> str:
    """The text of a file, in the form that its name asks for: Markdown, CSV or JSON."""
    if file.suffix == ".md":
        return markdown_table(table)
    if file.suffix == ".csv":
        return csv_text(rows, tuple(dict.fromkeys(name for row in rows for name in row)))
    return json_text(values)


def check_format(file: Path) -> None:
    """Raise SpecError for a file whose name ends in none of the forms, before anything is played for it."""
    if file.suffix not in FORMATS:
        raise SpecError(f"{file} says no form of a table by its ending; give one of: {', '.join(FORMATS)}")


_ENDS = frozenset(map(str, EndReason))
