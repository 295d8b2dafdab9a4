"""``igpo-gym check scorer``: whether a scorer is a fit judge of some questions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from igpo_gym.cli.common import console, explained, in_cells, in_digits, plainly, progress
from igpo_gym.progress import told
from igpo_gym.text import without_credentials

if TYPE_CHECKING:
    from igpo_gym.benchmark.fit.run import FitResult

T = TypeVar("T")


def check_scorer(
    model: Annotated[
        str,
        typer.Argument(help="As --scorer takes it: a packaged model, a folder, a GGUF file, a server's URL."),
    ],
    questions: Annotated[
        str, typer.Option(help="Questions with gold evidence: world:test, hotpotqa:FILE, a file of yours.")
    ],
    search: Annotated[
        str | None,
        typer.Option(help="The index that has the evidence, where it did not come with the questions."),
    ] = None,
    protocol: Annotated[str, typer.Option(help="How agent and environment write.")] = "tags",
    limit: Annotated[
        int,
        typer.Option(
            min=1, help="How many questions are asked about, at most all; below 50 there is no verdict."
        ),
    ] = 100,
    out: Annotated[
        Path | None, typer.Option(help="A JSON file for all figures, and the beliefs of each question.")
    ] = None,
) -> None:
    """Find out whether a scorer is a fit judge of your questions, before you train with its beliefs.

    It is asked with the gold evidence, without it, with evidence of other questions, with the answer's string
    put into that, and with a wrong answer in a thought. A fit scorer believes the evidence and nothing else.

    Examples:

      igpo-gym check scorer nano --questions world:test

      igpo-gym check scorer smollm2 --questions hotpotqa:dev.jsonl --limit 60 --out fit.json

      igpo-gym check scorer http://127.0.0.1:8000 --questions mine.jsonl --search ./index

    The verdict is "fit", "fit with context=evidence" (its beliefs follow what thoughts merely state) or
    "not fit: take a larger one". Claims and bounds stand in docs/fit.md. The exit status is 1 if it is not
    fit, and 0 without a verdict.
    """
    with explained():
        from igpo_gym.benchmark.fit.run import run_fit
        from igpo_gym.benchmark.report import json_text
        from igpo_gym.specs import named_paths
        from igpo_gym.storage import check_writable, written_file

        if out is not None:
            read = (path for spec in (model, questions, search) for path in named_paths(spec))
            check_writable(out, *read)
        found = run_fit(model, questions, search, protocol, limit, _progress)
        _tell(found, model, questions)  # first, so that a disk that is full by now takes no verdict away
        if out is not None:
            with written_file(out) as new:
                new.write(json_text(found.report()))
    raise typer.Exit(int(found.verdict == "not fit"))


def _progress(items: Iterable[T], what: str, total: int | None) -> Iterable[T]:
    """A bar; without a terminal, a line after every ten, for a question may take half a minute."""
    if console.is_terminal:
        return progress(items, what, total)
    return told(items, what, total, 10, plainly)


def _tell(found: FitResult, model: str, questions: str) -> None:
    from igpo_gym.benchmark.fit.bounds import BOUNDS

    named = (
        f"{without_credentials(model)} on {len(found.beliefs)} questions of {without_credentials(questions)}"
    )
    claims = Table("claim", "measured", "95% interval", "bound", "", title=escape(named))
    for each in BOUNDS:
        state = found.states.get(each.key, "not told")
        bound = f"{'at least' if each.at_least else 'at most'} {each.value:g}"
        warned = "warning" if each.about == "warning" and state != "holds" else state
        claims.add_row(
            each.claim, *in_cells(found.measures[each.key], 3)[:2], bound, _COLORS.get(warned, warned)
        )
    console.print(claims)
    beside = Table("also measured", "", "95% interval", "questions")
    for key, what in _BESIDE.items():
        beside.add_row(what, *in_cells(found.measures[key], 3))
    for name, gained in found.scripts.items():
        beside.add_row(f"gain, answers in {name}", *in_cells(gained, 3))
    beside.add_row("tokens that the scorer reads for a turn", in_digits(found.cost.tokens, 0), "", "")
    beside.add_row("seconds for a turn", in_digits(found.cost.seconds, 2), "", "")
    console.print(beside)
    if found.too_long:
        plainly(
            f"{len(found.too_long)} questions are left out: the scorer reads no transcript of such length"
        )
    plainly(_sentence(found))


_BESIDE = {
    "foreign_gain": "gain of foreign evidence",
    "beats_string": "gold evidence beats the answer's string",
    "wordings_2": "gain in a third wording, rank correlation",
    "length": "gain and the answer's length, rank correlation",
    "aliases": "gain and the number of answers, rank correlation",
}
"""What is told beside the claims, by key."""

_COLORS = {"fails": "[bold red]fails[/bold red]", "warning": "[yellow]warning[/yellow]"}


def _sentence(found: FitResult) -> str:
    from igpo_gym.benchmark.fit.bounds import FEWEST_QUESTIONS

    asked = len(found.beliefs)
    if found.verdict == "no verdict" and asked < FEWEST_QUESTIONS:
        return f"no verdict: {asked} questions are too few, give {FEWEST_QUESTIONS} or more"
    return {
        "fit": "fit: this scorer believes the evidence of these questions, and little else",
        "fit with context=evidence": 'fit with context=evidence: take reward="igpo(context=evidence)", since '
        f"thoughts move its beliefs ({found.why})",
        "not fit": f"not fit: take a larger one ({found.why})",
        "no verdict": f"no verdict: intervals cross their bounds ({found.why}), give more questions",
    }[found.verdict]
