"""``igpo-gym compare``: two evaluations of the same questions, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from igpo_gym.cli.common import console, explained

if TYPE_CHECKING:
    from igpo_gym.benchmark.evaluation.paired import Comparison

SHOWN = 60
"""How many characters of a question or an answer a line shows."""


def compare(
    first: Annotated[
        Path, typer.Argument(help="The episodes of an evaluation, as igpo-gym eval keeps them.")
    ],
    second: Annotated[Path, typer.Argument(help="Those of another, on the same questions.")],
    metric: Annotated[
        str, typer.Option(help="What is compared: a score of the answer, or another measure of the table.")
    ] = "em",
    examples: Annotated[
        int, typer.Option(min=0, help="How many of the questions that differ most to print.")
    ] = 10,
    table: Annotated[
        list[Path] | None,
        typer.Option(help="Also write it to FILE.md, FILE.csv or FILE.json; give it several times."),
    ] = None,
) -> None:
    """Tell which of two evaluations is better, by how much, and on which questions.

    All is paired over the questions that both have played: the difference has a 95% interval over questions,
    and its p-value is that of the sign-flip test. What differs in the settings is what is compared, and is
    listed; files in which a question of the same id has another text or other gold answers are refused.

    Examples:

      igpo-gym compare before.jsonl after.jsonl

      igpo-gym compare bm25.jsonl dense.jsonl --metric f1 --examples 30 --table compared.json
    """
    from igpo_gym.benchmark.evaluation import paired
    from igpo_gym.benchmark.evaluation.measures import measure_named
    from igpo_gym.benchmark.evaluation.table import check_format, in_format
    from igpo_gym.benchmark.report import rich_table
    from igpo_gym.storage import check_all_writable, written_file

    with explained():
        for file in table or ():
            check_format(file)
        check_all_writable(table or (), first, second)
        if first.exists() and second.exists() and first.samefile(second):
            raise ValueError(f"both are the same file ({first}); name two evaluations")
        measure = measure_named(metric)
        ours, theirs = (paired.read_played(file, measure) for file in (first, second))
        compared = paired.compare(ours, theirs, measure)
        shown = paired.verdict_table(compared)
        for file in table or ():
            text = in_format(file, shown, paired.verdict_rows(compared), paired.as_json(compared, examples))
            with written_file(file) as written:
                written.write(text)
    console.print(f"first:  {first}\nsecond: {second}", markup=False, highlight=False)
    console.print(rich_table(shown))
    console.print(compared.sentence, markup=False)
    for number, file, other in zip(compared.unpaired, (first, second), (second, first), strict=True):
        if number:
            told = f"were not played in {other}, or have no {metric} there, and are left out"
            console.print(f"{number} questions of {file} {told}", markup=False)
    if compared.settings:
        console.print(_settings(compared))
    else:
        console.print("the settings are the same")
    if examples and (pairs := compared.largest(examples)):
        listed = Table(
            "question",
            "first",
            "second",
            "answer of the first",
            "answer of the second",
            title=compared.measure.name,
        )
        for pair in pairs:
            listed.add_row(
                _line(pair.question.text),
                *(f"{score:.2f}" for score in pair.scores),
                *("–" if text is None else _line(text) for text in pair.predictions),
            )
        console.print(listed)


def _settings(compared: Comparison) -> Table:
    """What differs in the settings of the two."""
    shown = Table("setting", "first", "second")
    for name, *values in compared.settings:
        shown.add_row(escape(name), *(_line(str(value)) for value in values))
    return shown


def _line(text: str) -> str:
    """Foreign text on one line, as it is."""
    line = " ".join(text.split())
    return escape(line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…")
