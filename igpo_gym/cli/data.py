"""``igpo-gym data``: the sets of questions that are known, and what stands in one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from igpo_gym.cli.common import AsJson, console, explained

if TYPE_CHECKING:
    from igpo_gym.data.inspection import Inspection


def list_sets(as_json: AsJson = False) -> None:
    """List every set of questions: how it is named, its layout, its size and license, and who publishes it.

    Example:

      igpo-gym data list
    """
    from igpo_gym.data.catalog import CATALOG

    if as_json:
        console.print_json(data=[asdict(known) for known in CATALOG])
        return
    table = Table(
        Column("questions", overflow="fold", min_width=24),
        Column("layout", ratio=4),
        Column("size, license, owners", overflow="fold", ratio=5),
        show_lines=True,
        expand=True,
    )
    for known in CATALOG:
        name = f"{known.spec}\nprotected" if known.protected else known.spec
        facts = "\n".join(filter(None, (known.size, known.license, known.owners)))
        table.add_row(*map(escape, (name, known.layout, facts)))
    console.print(table)
    console.print(
        "Every set takes limit, seed, hops and sources: nq:dev.jsonl#limit=500,seed=0. A file alone is "
        "recognized. Of protected sets only hashes are written. Sizes and licenses are not checked: ask the "
        "owners.",
        markup=False,
    )


def show(
    questions: Annotated[
        str, typer.Argument(help="A file, or a spec such as [b]musique:dev.jsonl#hops=3-4[/b].")
    ],
    examples: Annotated[int, typer.Option(min=0, help="How many questions to print.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Show what was read from a file of questions, and what is odd in it.

    Examples:

      igpo-gym data show dev.json

      igpo-gym data show "nq:dev.jsonl#limit=100 + hotpotqa:hotpot.json" --json
    """
    from igpo_gym.data import resolve_questions
    from igpo_gym.data.inspection import inspect

    with explained():
        found = inspect(resolve_questions(questions), examples)
    if as_json:
        console.print_json(data=asdict(found))
        return
    _print(found)


_ANSWERS = 5
"""How many answers of an example are printed."""


def _print(found: Inspection) -> None:
    console.print(f"read as {found.name}", markup=False)
    table = Table("what", "number", show_header=False)
    for what, number in (
        ("questions", f"{found.questions:,}"),
        ("sources", _listed(found.sources)),
        ("hops", _listed(found.hops)),
        ("answers of a question", _range(found.answers)),
        ("words of its first answer", _range(found.answer_words)),
        ("questions with evidence", f"{found.with_evidence:,}"),
        ("pieces of evidence", _range(found.evidence)),
        ("passages", f"{found.passages:,}"),
    ):
        table.add_row(what, number)
    if found.left_out:
        table.add_row("records left out", f"{found.left_out:,}")
    if found.protected:
        table.add_row("protected", f"{found.protected:,}, whose texts are hidden")
    console.print(table)
    if found.examples:
        examples = Table("id", "question", "answers", "hops", "evidence", show_lines=True)
        for each in found.examples:
            answers = list(each.answers[:_ANSWERS])
            if rest := len(each.answers) - len(answers):
                answers.append(f"and {rest} more")
            hops = "" if each.hops is None else str(each.hops)
            cells = (each.id, each.question, "\n".join(answers), hops, "\n".join(each.evidence))
            examples.add_row(*map(escape, cells))
        console.print(examples)
    odd = Table("odd", "questions", "ids of the first")
    for thing in found.odd:
        odd.add_row(thing.what, str(thing.questions), escape(", ".join(thing.ids)))
    console.print(odd if found.odd else "nothing odd was found")


def _listed(counts: Mapping[str, int]) -> str:
    return escape(", ".join(f"{name}: {count:,}" for name, count in counts.items()))


def _range(values: tuple[float, float, float]) -> str:
    least, middle, most = (f"{value:g}" for value in values)
    return f"{least} to {most}, median {middle}" if least != most else least
