"""What the commands share: their options, the console, and how a mistake is told."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.markup import escape
from rich.table import Column, Table

from igpo_gym.errors import (
    AccessError,
    BudgetSpentError,
    LearningError,
    ReplayError,
    SamplingError,
    ScoringError,
)
from igpo_gym.progress import told
from igpo_gym.specs import joined, named_paths
from igpo_gym.terminal import Terminal
from igpo_gym.text import without_credentials

if TYPE_CHECKING:
    from igpo_gym.agents.rollouts.estimates import Work
    from igpo_gym.benchmark import report
    from igpo_gym.config import EnvConfig
    from igpo_gym.data.interface import QuestionSet
    from igpo_gym.envs.engine import Engine
    from igpo_gym.lm.policy import Policy, Sampling
    from igpo_gym.scorers.findings import Finding
    from igpo_gym.statistics import Estimate

console = Terminal()

T = TypeVar("T")

Seed = Annotated[int, typer.Option(help="Seeds the agent, and the question that play begins with.")]
Agent = Annotated[
    str,
    typer.Option(
        help="Who plays: [b]nano[/b], a hub name, a folder or a GGUF file, the URL of a server "
        "([b]http://host:8000/v1[/b]), or a scripted agent such as [b]expert[/b]; [b]closed-book:AGENT[/b] "
        "plays without tools, [b]oracle:AGENT[/b] is given the gold passages."
    ),
]
Temperature = Annotated[
    float, typer.Option(min=0, help="Of a language model's sampling; 0 takes the likeliest token.")
]
TopP = Annotated[
    float, typer.Option(min=0, max=1, help="Sample from the likeliest tokens of this probability together.")
]
MaxTokens = Annotated[int, typer.Option(min=1, help="Tokens that a message may have.")]
BatchSize = Annotated[int, typer.Option(min=1, help="How many episodes run at a time.")]
TrustImports = Annotated[
    bool,
    typer.Option(
        "--trust-imports", help="Let the file that is read name code to import and models to download."
    ),
]
ClearText = Annotated[
    bool,
    typer.Option(
        "--clear-text", help="Write the texts of protected questions (BrowseComp) too, not their hashes."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Limit = Annotated[int, typer.Option(min=1, help="How many questions of a set are played, at most all.")]
Out = Annotated[Path, typer.Option(help="The JSONL file, one episode a line; resumed if it exists.")]


BudgetText = Annotated[
    str | None,
    typer.Option(
        "--budget",
        help='Stop between two pieces where this is used up, such as "hours=2, tokens=5e6"; also '
        "[b]calls[/b], which are messages, beliefs, searches and verdicts together. What has begun is "
        "finished, and the command ends with the code 3. The same command goes on, and the budget begins "
        "anew.",
    ),
]

EstimateOnly = Annotated[
    bool,
    typer.Option(
        "--estimate",
        help="Try some of what is left for ten seconds, without keeping it, and tell what all of it will "
        "take.",
    ),
]

OVER_BUDGET = 3
"""The exit code of a command that its budget has ended."""


def assemble(config: EnvConfig) -> tuple[QuestionSet, Engine]:
    """The questions and the engine that the options ask for."""
    from igpo_gym.envs.setup import assemble

    with console.status("loading questions, index and scorer"):
        made = assemble(config)
    if isinstance(config.questions, str) and _recognized(config.questions, made[0].name):
        console.print(f"read as {made[0].name}", markup=False)
    return made


def named_files(config: EnvConfig, *specs: object) -> list[Path]:
    """The files and folders that a configuration's specs name, and some specs of a command."""
    from igpo_gym.config import Names, marks

    named = (getattr(config, name) for name in marks(type(config), Names))
    return [path for spec in (*named, *specs) for path in named_paths(spec)]


def _recognized(spec: str, name: str) -> bool:
    """Whether a spec of questions names a file whose layout was found out."""
    pairs = zip(joined(spec), joined(name), strict=False)
    return any(told.partition("#")[0].partition(":")[2] == part.partition("#")[0] for part, told in pairs)


def tell_cache(facts: Mapping[str, str | int]) -> None:
    """A line about how often the search cache helped, of what an engine's retriever tells."""
    if "cache_hits" in facts:
        console.print(f"search cache: {facts['cache_hits']} hits, {facts['cache_misses']} misses")


def tell_doubled(file: Path, start: int = 0, count: int | None = None) -> None:
    """A line about the episodes that stand in a file more than once, where there are such."""
    from igpo_gym.agents.rollouts.records import doubled

    if number := doubled(file, start, count):
        console.print(
            f"{number} of the episodes in {file} stand there more than once, word for word, and each counts",
            markup=False,
            soft_wrap=True,
        )


def tell_estimate(works: Sequence[Work]) -> None:
    """What is left of a run, and what it will take by some of it that is tried now, as a table."""
    from igpo_gym.agents.rollouts.estimates import estimated

    tell_forecast(estimated(works), *((work.left, work.what) for work in works))


def tell_forecast(found: Mapping[str, Estimate], *left: tuple[int, str]) -> None:
    """What is left of a run, and what it will take, as a table."""
    if not any(count for count, _ in left):
        plainly("nothing is left to do")
        return
    plainly("left: " + ", ".join(f"{count} {what}" for count, what in left if count))
    table = Table("", "about", "95% interval", "pieces tried")
    for name, each in found.items():
        table.add_row(name, *in_cells(each, digits=0))
    console.print(table)
    if any(math.isnan(each.low) for each in found.values()):
        plainly("no interval: of some work fewer than five pieces were tried, or all of them took the same")
    if memory := _memory():
        plainly(f"memory of this process: at most {memory / 2**30:.2g} GiB so far")


def _memory() -> int | None:
    """The most that this process has held, in bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def tell_report(tables: Iterable[report.Table], findings: Iterable[str], out: Path) -> None:
    """What a benchmark came to, and where its page is."""
    from igpo_gym.benchmark.report import rich_table

    for table in tables:
        console.print(rich_table(table))
    for finding in findings:
        console.print(f"- {finding}", markup=False)
    console.print(f"the whole report: {out / 'report.html'}", markup=False)


def tell_view(*files: Path) -> None:
    """A line with the command that shows what was recorded."""
    console.print(shlex.join(["igpo-gym", "view", *map(str, files)]), markup=False, soft_wrap=True)


def findings_table(findings: Iterable[Finding], title: str | None = None) -> Table:
    """What a check has found, a row a finding."""
    table = Table("", Column("found", overflow="fold", ratio=1), "", title=title)
    for each in findings:
        table.add_row(each.what, escape(each.found), _VERDICTS[each.good])
    return table


_VERDICTS = {True: "ok", False: "[bold red]WRONG[/bold red]", None: ""}


def make_policy(agent: str, question_set: QuestionSet, engine: Engine, sampling: Sampling) -> Policy:
    """The policy that the option asks for."""
    from igpo_gym.agents.policies import resolve_policy

    with console.status(f"loading {escape(without_credentials(agent))}"):
        return resolve_policy(agent, question_set, engine.protocol, sampling)


def progress(items: Iterable[T], what: str, total: int | None) -> Iterator[T]:
    """The items, with a progress bar; without a terminal, a line after every hundred."""
    if not console.is_terminal:
        yield from told(items, what, total, 100, plainly)
        return
    from rich.progress import track

    yield from track(items, description=what, total=total, console=console)


def plainly(line: str) -> None:
    """Print a line as it is: no markup, no colors, and not wrapped."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def in_cells(estimate: Estimate, digits: int = 4) -> tuple[str, str, str]:
    """An estimate as a table's cells: its value, its 95% interval if it has one, and its units."""
    value, low, high = (in_digits(x, digits) for x in (estimate.value, estimate.low, estimate.high))
    return value, "" if math.isnan(estimate.low) else f"{low} to {high}", str(estimate.units)


def in_digits(value: float, digits: int) -> str:
    """A number as a table's cell; a dash where it is not defined."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


TOO_FEW = "no interval stands where fewer than five questions have a value, or all say the same"
"""Said under a table where an interval is missing."""


_ENDING = (AccessError, LearningError, ReplayError, ScoringError, SamplingError)


@contextmanager
def explained() -> Iterator[None]:
    """A user's mistake ends the command with its explanation instead of a traceback."""
    try:
        yield
    except BudgetSpentError as end:
        plainly(str(end))
        raise typer.Exit(OVER_BUDGET) from end
    except (ValueError, ImportError, OSError, *_ENDING) as mistake:
        tell_mistake(mistake)
        raise typer.Exit(2) from mistake


def tell_mistake(mistake: Exception) -> None:
    """Print what a mistake says, as an error."""
    text = escape(without_credentials(_words_of(mistake)))
    Terminal(stderr=True).print(f"[bold red]error[/bold red] {text}", soft_wrap=True)


def _words_of(mistake: Exception) -> str:
    """What a mistake says; of what the system refuses, why, and the name of the file if it is one."""
    if isinstance(mistake, OSError) and mistake.strerror:
        named = "" if mistake.filename is None else f"{mistake.filename}: "
        return named + mistake.strerror.lower()
    return str(mistake)
