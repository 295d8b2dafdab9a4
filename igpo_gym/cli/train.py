"""``igpo-gym train``: a policy learns from its own rollouts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from igpo_gym.agents.training.recipes import RECIPES, recipe
from igpo_gym.agents.training.settings import NOT_TRAINED, Settings
from igpo_gym.cli.common import (
    BudgetText,
    EstimateOnly,
    console,
    explained,
    plainly,
    tell_cache,
    tell_estimate,
    tell_view,
)
from igpo_gym.cli.options import configured

if TYPE_CHECKING:
    from igpo_gym.agents.training.logs import Metrics


def _set_recipe(context: typer.Context, name: str | None) -> str | None:
    if name is not None:
        with explained():
            found = recipe(name)
        texts = {key: str(value) for key, value in found.settings.items()}
        context.default_map = {**texts, **(context.default_map or {})}  # a --config comes before it
        told = f"recipe {name} ({found.source}); otherwise here: {found.otherwise}"
        console.print(told, markup=False, soft_wrap=True)
    return name


@configured(Settings, without=NOT_TRAINED)
def train(
    settings: Settings,
    out: Annotated[Path, typer.Argument(help="The run's folder; a run that is there goes on.")],
    recipe: Annotated[
        str | None,
        typer.Option(
            help=f"Published settings: {', '.join(RECIPES)}; what the command line says comes before them.",
            is_eager=True,
            callback=_set_recipe,
        ),
    ] = None,
    wandb: Annotated[bool, typer.Option("--wandb", help="Log to Weights & Biases.")] = False,
    budget: BudgetText = None,
    estimate: EstimateOnly = False,
) -> None:
    """Train a language model to search and answer, with IGPO or a rival of it.

    Each update plays [b]batch-questions[/b] x [b]group-size[/b] episodes, prices every turn with
    [b]reward[/b], compares the turns of a group by [b]advantages[/b], and takes [b]epochs[/b] clipped
    policy-gradient steps. The folder holds the log ([b]log.jsonl[/b], and [b]tensorboard[/b] if it is
    installed), episodes of validations ([b]samples[/b]), the checkpoint, and the models [b]best[/b] and
    [b]last[/b], which every [b]--model[/b] and [b]--scorer[/b] takes. The same command goes on where a run
    was stopped.

    Examples:

      igpo-gym train runs/igpo

      igpo-gym train runs/paper --recipe paper --model Qwen/Qwen2.5-7B-Instruct --questions verl:train.parquet

      igpo-gym train runs/again --config runs/igpo/settings.json --seed 1

      igpo-gym train runs/grpo --reward outcome-f1 --advantages grpo --scorer none

      igpo-gym train runs/qwen --model Qwen/Qwen2.5-7B-Instruct --lora 16 --questions hotpotqa:train.json
      --validation hotpotqa:dev.json --search bm25:wiki-index --group-size 16 --learning-rate 1e-6
    """
    from igpo_gym.agents.rollouts.costs import Budget, Meter
    from igpo_gym.agents.training.readiness import check_ready
    from igpo_gym.storage import check_writable

    meter = Meter(Budget.parse(budget))
    check_ready(settings)  # before the seconds that the next imports take
    check_writable(out, folder=True)
    if estimate:
        _estimate(out, settings)
        return
    from igpo_gym.agents.training.samples import SAMPLES, samples
    from igpo_gym.agents.training.trainer import train

    with display(settings.updates) as show:
        facts = train(out, settings, show, wandb, plainly, meter=meter)
    tell_cache(facts)
    console.print(f"done; the best model is in {out / 'best'}", markup=False)
    if kept := samples(out / SAMPLES):
        tell_view(*dict.fromkeys((kept[0], kept[-1])))


def _estimate(out: Path, settings: Settings) -> None:
    """Tell what the updates and validations will take that the folder does not have; nothing is written."""
    from igpo_gym.agents.training.memory import plan_run
    from igpo_gym.agents.training.rehearsal import Rehearsal

    plainly(str(plan_run(settings)))
    with closing(Rehearsal(out, settings)) as rehearsal:
        tell_estimate(rehearsal.works())


SHOWN = {
    "reward": "reward",
    "f1": "F1",
    "tool_turns": "tools",
    "collapsed_groups": "collapse",
    "kl": "KL",
    "alarms": "alarms",
    "tokens_per_second": "tok/s",
    "share_sampling": "sample",
    "share_scoring": "score",
    "share_update": "learn",
    "validation_f1": "valid. F1",
}
"""The metrics of the display, and what they are called there. A terminal of 80 columns has room for them."""


@contextmanager
def display(updates: int) -> Iterator[Callable[[Metrics], None]]:
    """A progress bar over a table of the latest updates; yields what takes an update's metrics.

    Without a terminal each update is a line.
    """
    if not console.is_terminal:
        yield lambda metrics: plainly(line(updates, metrics))
        return
    bar = updates_bar("update", updates)
    latest: list[Metrics] = []

    def table() -> Table:
        made = Table(box=box.SIMPLE_HEAD, padding=0)
        for name in ("update", *SHOWN.values()):
            made.add_column(name, justify="right", min_width=max(map(len, name.split())))
        for metrics in latest:
            made.add_row(str(int(metrics["update"])), *(_shown(name, metrics) for name in SHOWN))
        return made

    with Live(Group(table(), bar), console=console) as live:

        def show(metrics: Metrics) -> None:
            latest.append(metrics)
            del latest[:-10]
            bar.update(bar.task_ids[0], completed=int(metrics["update"]))
            live.update(Group(table(), bar))

        try:
            yield show
        except BaseException:
            live.transient = not latest  # an empty table says nothing about what went wrong
            raise


def updates_bar(name: str, total: int) -> Progress:
    """A progress bar of so many updates, one task; without a terminal it shows nothing."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    bar.add_task(name, total=total)
    return bar


def line(updates: int, metrics: Metrics) -> str:
    """An update's metrics in a line.

    >>> line(40, {"update": 3.0, "reward": 1.25, "share_update": 0.5, "tokens_per_second": 812.4})
    'update 3 of 40: reward 1.250, tok/s 812, learn 50%'
    """
    values = ", ".join(f"{shown} {_shown(name, metrics)}" for name, shown in SHOWN.items() if name in metrics)
    return f"update {int(metrics['update'])} of {updates}: {values}"


def _shown(name: str, metrics: Metrics) -> str:
    if name not in metrics:
        return ""
    value = metrics[name]
    if name.startswith("share") or name == "collapsed_groups":
        return f"{value:.0%}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3f}"
