"""``igpo-gym bench study``: the pre-registered study, row by row."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from igpo_gym.cli.common import BudgetText, console, explained, plainly, progress

if TYPE_CHECKING:
    from igpo_gym.agents.rollouts.costs import Meter
    from igpo_gym.agents.training.logs import Metrics
    from igpo_gym.benchmark.study.rows import Row
    from igpo_gym.benchmark.study.run import Study


def bench_study(
    out: Annotated[
        Path | None, typer.Option(help="The study's folder; by default one in the cache folder.")
    ] = None,
    part: Annotated[int | None, typer.Option(help="This part alone; by default all in their order.")] = None,
    budget: BudgetText = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, each with one thread.")] = 1,
    row: Annotated[
        str | None, typer.Option(metavar="HASH", help="Make this row again, alone, and compare.")
    ] = None,
    starts: Annotated[
        Path | None,
        typer.Option(
            help="The models that part 5 begins with (python -m nano.starts); by default OUT/starts."
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show all rows, and which are there.")] = False,
    estimate: Annotated[bool, typer.Option("--estimate", help="Show what is left, in core-hours.")] = False,
    credit: Annotated[
        bool, typer.Option("--credit", help="Price the arms on recorded episodes (minutes), for the page.")
    ] = False,
    page: Annotated[bool, typer.Option("--page", help="Make the page, from runs.jsonl.")] = False,
) -> None:
    """Does information gain train better agents? The study of docs/study.md.

    Goes on with what the folder holds, each part whole before the next, and stops cleanly when its budget is
    used up: a run that is under way goes on from there. Every finished run is a line of [b]runs.jsonl[/b],
    with the command that makes it alone.

    Examples:

      igpo-gym bench study --list

      igpo-gym bench study --budget "hours=6" --jobs 2

      igpo-gym bench study --row HASH
    """
    from igpo_gym.agents.rollouts.costs import Budget, Meter
    from igpo_gym.benchmark.study.run import Study, default_folder, run_study

    with explained():
        folder = out or default_folder()
        study = Study(folder, starts or folder / "starts")
        if list_:
            _list(study)
        if estimate:
            _estimate(study)
        if row is not None:
            _again(study, row)
        meter = Meter(Budget.parse(budget))
        if credit:
            _credit(study, meter)
        if not (list_ or estimate or credit or page or row is not None):
            run_study(study, part, jobs, _tell, meter)
            console.print("all that was asked for is there")
        if page:
            _page(study)


def _tell(row: Row, metrics: Metrics) -> None:
    if "validation_f1" in metrics:
        plainly(f"{row}: update {metrics['update']:.0f}, F1 {metrics['validation_f1']:.3f}")


def _list(study: Study) -> None:
    for row, name, done in study.plan():
        state = "done" if done else "begun" if name and study.folder(row).exists() else ""
        plainly(f"{name or '-' * 12}  {row}  {state}".rstrip())


def _estimate(study: Study) -> None:
    from igpo_gym.benchmark.study.run import core_hours

    found = core_hours(study)
    for title, count, there, left in found:
        console.print(f"part {title}: {there} of {count} runs, {left:.1f} core-hours left", highlight=False)
    console.print(f"together {sum(left for *_, left in found):.1f} core-hours left", highlight=False)


def _again(study: Study, name: str) -> None:
    from igpo_gym.benchmark.study.run import again, equal_curves

    made, recorded = again(study, name, _tell)
    plainly(made.command)
    if recorded is None:
        console.print("no run of this row is recorded")
    else:
        same = equal_curves(made, recorded)
        console.print("as it is recorded" if same else "not as it is recorded: another machine or version?")


def _credit(study: Study, meter: Meter) -> None:
    from igpo_gym.benchmark.credit.ledger import forget
    from igpo_gym.benchmark.report import json_text, write_files
    from igpo_gym.benchmark.study.credit import CREDIT
    from igpo_gym.benchmark.study.pricing import priced_arms

    folder = study.out / "credit"
    found = priced_arms(track=progress, folder=folder, meter=meter)
    write_files(study.out, {CREDIT: json_text(found)})
    forget(folder)
    console.print(f"the credit measures: {study.out / CREDIT}", markup=False)


def _page(study: Study) -> None:
    from igpo_gym.benchmark.report import page_files, require_extra, write_files
    from igpo_gym.benchmark.study.credit import CREDIT, read_credit
    from igpo_gym.benchmark.study.page import study_page

    require_extra()
    write_files(study.out, page_files(study_page(study.runs(), read_credit(study.out / CREDIT))))
    console.print(f"the page: {study.out / 'report.html'}", markup=False)
