"""``igpo-gym bench train``: which reward trains best, over seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from igpo_gym.agents.training.settings import NOT_TRAINED, Settings
from igpo_gym.cli.common import BudgetText, EstimateOnly, console, plainly, tell_forecast, tell_report
from igpo_gym.cli.options import configured
from igpo_gym.cli.train import line, updates_bar

if TYPE_CHECKING:
    from igpo_gym.agents.training.logs import Metrics
    from igpo_gym.benchmark.training.outcomes import Variant
    from igpo_gym.benchmark.training.run import Job

QUICK: dict[str, Any] = {"seeds": 2, "updates": 12, "validate_every": 4, "validation_questions": 50}
"""The defaults of a small benchmark."""


def _set_quick(context: typer.Context, quick: bool) -> bool:
    if quick:
        context.default_map = {**QUICK, **(context.default_map or {})}  # what a file says goes first
    return quick


@configured(Settings, without=(*NOT_TRAINED, "reward", "advantages", "seed"))
def bench_training(
    base: Settings,
    out: Annotated[Path, typer.Option(help="The folder for the report, the figures and all runs.")],
    variant: Annotated[
        list[str] | None,
        typer.Option(
            help="REWARD/ADVANTAGES to compare; repeat it. By default GRPO on the outcome, with and "
            "without a format penalty, and five that pay information gain."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each variant.")] = 5,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="A small benchmark: two seeds of 12 updates each, where nothing else is said. It "
            "shows that the variants train, not which is better.",
            is_eager=True,  # before the options whose defaults it sets
            callback=_set_quick,
        ),
    ] = False,
    jobs: Annotated[
        int,
        typer.Option(min=1, help="Runs at a time. A small model trains fastest with one for each core."),
    ] = 1,
    budget: BudgetText = None,
    estimate: EstimateOnly = False,
) -> None:
    """Which reward trains best? Learning curves of rewards and estimators, over seeds.

    Each variant trains the same model on the same questions with each seed. The report compares F1 against
    updates, tokens and time, with intervals over the seeds, tests each variant against the first one, the
    baseline, and tells which estimators drift where there is nothing to learn. Below five seeds nothing is
    tested. The same command goes on where it was stopped.

    Examples:

      igpo-gym bench train --quick --out curves

      igpo-gym bench train --variant outcome-f1/grpo --variant "igpo + 0.1*evidence-recall/igpo-separate"
      --seeds 8 --questions world#hops=2-3 --validation world:validation#hops=2-3 --out hops
    """
    from igpo_gym.agents.rollouts.costs import Budget, Meter
    from igpo_gym.benchmark.report import require_extra, write_files
    from igpo_gym.benchmark.training.files import training_files
    from igpo_gym.benchmark.training.outcomes import Variant
    from igpo_gym.benchmark.training.page import baseline_table, bias_table, findings, overview, speed_table
    from igpo_gym.benchmark.training.run import SUITE, missing_runs, result_of, run_training
    from igpo_gym.storage import check_writable

    meter = Meter(Budget.parse(budget))
    require_extra()
    check_writable(out, folder=True)
    variants = tuple(dict.fromkeys(map(Variant.parse, variant))) if variant else SUITE
    if estimate:
        _estimate(missing_runs(out, base, variants, seeds))
        return
    with updates_bar("updates", len(variants) * seeds * base.updates) as bar:

        def show(chosen: Variant, seed: int, metrics: Metrics) -> None:
            done, run = metrics["update"] > 0, f"{chosen}, seed {seed}"
            bar.update(bar.task_ids[0], advance=float(done), description=run)
            if not console.is_terminal:
                plainly(f"{run}: {line(base.updates, metrics)}")

        outcomes = run_training(out, base, variants, seeds, show, jobs, meter)
    result = result_of(outcomes, variants, base)
    write_files(out, training_files(result))
    tables = (*overview(result), baseline_table(result), speed_table(result), bias_table(result))
    tell_report(tables, findings(result), out)


def _estimate(missing: Mapping[Variant, Sequence[Job]]) -> None:
    """Tell what the runs will take that are not there; of each variant one is tried, and nothing is kept."""
    from igpo_gym.agents.rollouts.estimates import SECONDS, estimated, together
    from igpo_gym.agents.training.rehearsal import Rehearsal

    found, left = [], Counter[str]()
    for jobs in missing.values():
        first, *alike = (Rehearsal(*job) for job in jobs)
        with closing(first):
            works = first.works(alike)
            found.append(estimated(works, SECONDS / len(missing)))
            left.update({work.what: work.left for work in works})
    tell_forecast(together(found), *((count, what) for what, count in left.items()))
