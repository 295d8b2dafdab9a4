"""``igpo-gym relabel``: what recorded episodes would have been paid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from igpo_gym.cli.common import (
    BudgetText,
    EstimateOnly,
    TrustImports,
    console,
    explained,
    in_cells,
    make_policy,
    progress,
    tell_doubled,
    tell_estimate,
)
from igpo_gym.cli.pricing import FilePricing, line_of, record_of
from igpo_gym.cli.recording import SAMPLING
from igpo_gym.config import EnvConfig, Names, marks
from igpo_gym.episode import UNREAD
from igpo_gym.errors import DataError

if TYPE_CHECKING:
    from igpo_gym.agents.rollouts.summary import Values
    from igpo_gym.protocols import TextProtocol
    from igpo_gym.rewards import RewardFunction

NAMES = marks(EnvConfig, Names)
DEFAULTS = {"protocol": "tags"}
"""What a recording that does not tell is priced with."""
WORLD = {field.name for field in fields(EnvConfig)} - {"scorer", "reward", "policy", "reference", "judge"}
"""The settings that an agent plays on with."""
SPECS = tuple(name for name in NAMES if name not in ("reward", "policy", "judge"))
"""The specs of a recording that are used; rewards, policies and judges are those of the command line."""


def relabel(
    file: Annotated[Path, typer.Argument(help="Recorded episodes, as [b]igpo-gym rollout[/b] writes them.")],
    out: Annotated[
        Path,
        typer.Option(
            help="The JSONL file to write; one that is there is replaced at the end. What a killed run left "
            "(OUT.part) is gone on with."
        ),
    ],
    reward: Annotated[
        list[str], typer.Option(help="A reward, see [b]igpo-gym rewards[/b]; give it several times.")
    ],
    scorer: Annotated[
        str | None,
        typer.Option(
            help="The model that holds the beliefs, by default that of the recording; [b]none[/b] to take "
            "the recorded beliefs."
        ),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="The frozen model that some rewards need, given as a scorer is.")
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="The policy that completes episodes, for rewards that need one ([b]monte-carlo[/b]); given "
            "as [b]--agent[/b] of rollout."
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help="The judge that grades answers anew, a server's URL; by default the recorded verdicts are "
            "taken."
        ),
    ] = None,
    questions: Annotated[
        str | None, typer.Option(help="The data set of the recording, if the file does not tell.")
    ] = None,
    search: Annotated[
        str | None, typer.Option(help="The search of the recording, if the file does not tell.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Episodes that are measured in one call.")] = 16,
    records: Annotated[
        bool,
        typer.Option(
            "--records", help="Write whole records, paid the first reward, to be shown and priced again."
        ),
    ] = False,
    budget: BudgetText = None,
    estimate: EstimateOnly = False,
    trust_imports: TrustImports = False,
) -> None:
    """Tell what recorded or imported episodes would have been paid under any rewards.

    Line n of the output is about episode n: for each reward the [b]return[/b], and for each turn the weighted
    terms. Every belief is computed once, however many rewards use it, and no more than a batch is held in
    memory.

    Examples:

      igpo-gym relabel expert.jsonl --reward igpo --reward tips --reward ig-search --out priced.jsonl

      igpo-gym relabel expert.jsonl --reward "igpo(context=evidence)" --out priced.jsonl

      igpo-gym relabel expert.jsonl --reward monte-carlo --policy expert --out priced.jsonl

      igpo-gym relabel records.jsonl --reward igpo --scorer nano --records --out priced.jsonl
    """
    from igpo_gym.agents.rollouts.costs import Budget, Meter
    from igpo_gym.agents.rollouts.estimates import Work
    from igpo_gym.agents.rollouts.resumed import whole_lines
    from igpo_gym.rewards import resolve_reward
    from igpo_gym.specs import named_paths, resolve
    from igpo_gym.storage import check_writable

    options = {
        "questions": questions,
        "search": search,
        "scorer": scorer,
        "reference": reference,
        "policy": policy,
        "judge": judge,
    }
    with explained():
        allowed = Budget.parse(budget)
        meter = Meter(Budget() if estimate else allowed)
        if out.is_dir():
            raise IsADirectoryError(f"--out is a folder ({out}); name a file")
        settings = _settings(file, options, trust_imports)
        read = (policy, *(settings.get(name) for name in SPECS))
        check_writable(out, file, *(path for spec in read for path in named_paths(spec)))
        functions = [resolve_reward(each) for each in reward]
        needs = _needs(settings, functions)
        total = _count(file, options, _taken(policy, needs))
        corpus, context, protocol, pages = _world(settings, policy, needs)
        if judge is not None:
            context["judge"] = resolve("judge", judge)
        pricing = FilePricing(file, settings, functions, corpus, context, protocol, pages, batch_size, meter)
        made = pricing.described(options, records)
        meter.watch(*pricing.readers())
        if estimate:
            done = whole_lines(out, made, batch_size)
            work = Work("episodes", total - done, pricing.batches(done), meter)
            tell_estimate([work])
            return
        tally = Tally(function.name for function in functions)
        _write(pricing, out, made, total, records, tally)
        tell_doubled(file)
    tally.show()


def _settings(file: Path, options: Mapping[str, str | None], trusted: bool) -> dict[str, Any]:
    """The settings of a recording, with those that the command line gives in their places.

    Raises SpecError for what the file names and what can run code, unless it is trusted.
    """
    from igpo_gym.agents.rollouts.records import read_settings
    from igpo_gym.specs import from_file

    given = {name: text for name, text in options.items() if name in SPECS and text is not None}
    settings = DEFAULTS | read_settings(file)
    for name in SPECS:
        if name not in given and NAMES[name].is_spec(settings.get(name)):
            from_file(NAMES[name].kind, settings[name], file, trusted=trusted)
    return settings | given


def _needs(settings: Mapping[str, Any], functions: Iterable[RewardFunction]) -> set[str]:
    """What the rewards need: the protocol where a model is asked, and its tools where it reads messages or
    replies that are written anew."""
    needs: set[str] = {need for each in functions for need in each.needs}
    if all(settings.get(name) in (None, "none") for name in ("scorer", "reference")):
        return needs
    views = (view for each in functions for _, term in each.terms for view in term.views)
    return needs | {"protocol"} | ({"tools"} if any(view.rewritten for view in views) else set())


def _taken(policy: str | None, needs: Collection[str]) -> set[str]:
    """The settings of a recording by which its episodes are priced."""
    from igpo_gym.protocols.protocol import LIMIT_SETTINGS

    taken = {"scorer", "reference", *({"protocol", "tools"} & {*needs})}
    if {"tools", "corpus"} & {*needs}:  # replies are written anew
        taken |= {*LIMIT_SETTINGS}
    if "corpus" in needs:
        taken |= {"questions", "search"}
    return taken | {*WORLD, *SAMPLING} if policy else taken


def _count(file: Path, options: Mapping[str, str | None], taken: Collection[str]) -> int:
    """How many episodes a file holds, all of them with the same settings of those that are ``taken``.

    Raises DataError for the first line with others than line 1. What the command line gives is not compared,
    but for the questions, since several sets are not one.
    """
    from igpo_gym.agents.rollouts.records import all_settings
    from igpo_gym.storage import changed

    compared = sorted(name for name in taken if name == "questions" or options.get(name) is None)
    first: dict[str, Any] | None = None
    number = 0
    for number, told in enumerate(all_settings(file), 1):
        own = {name: told.get(name, DEFAULTS.get(name)) for name in compared}
        first = own if first is None else first
        if names := changed(first, own):
            raise DataError(
                file,
                f"played with other settings than line 1 ({names}), and a file is priced by one of each: "
                "relabel the parts alone" + (f", or give --{names}" if names in options else ""),
                number,
            )
    return number


def _world(
    settings: dict[str, Any], policy: str | None, needs: Collection[str]
) -> tuple[Any, dict[str, Any], str | TextProtocol, int]:
    """The corpus, what instruments are made from, the protocol, and how long the pages are that its ``open``
    shows, from the settings of the recording."""
    from igpo_gym.envs.setup import assemble
    from igpo_gym.lm.policy import Sampling
    from igpo_gym.tools.opening import PAGE_CHARS, page_chars

    others = "tools" in needs and settings.get("tools", "search") != "search"
    if not ("corpus" in needs or policy or others):
        return (), {}, settings["protocol"], PAGE_CHARS
    if "questions" not in settings:
        raise ValueError("the file does not tell which data set it was recorded on; give --questions")
    chosen = {name: settings[name] for name in WORLD if name in settings}
    with console.status("loading questions and index"):
        question_set, engine = assemble(EnvConfig(**chosen, scorer=None, reward="outcome-f1"))
    pages = page_chars(engine.tools)
    if policy is None:
        return engine.corpus, {}, engine.protocol, pages
    sampling = Sampling(**{name: settings[name] for name in SAMPLING if name in settings})
    made = make_policy(policy, question_set, engine, sampling)
    return engine.corpus, {"engine": engine, "policy": made}, engine.protocol, pages


def _write(
    pricing: FilePricing, out: Path, made: Mapping[str, Any], total: int, records: bool, tally: Tally
) -> None:
    """Write a line for each episode, with a progress bar. Raises BudgetSpentError if some were left out."""
    from igpo_gym.agents.rollouts.resumed import ResumedFile
    from igpo_gym.lm.policy import forget_prefixes

    readers, anew = pricing.readers(), pricing.anew()
    with ResumedFile(out, made, tally.add_record if records else tally.add, pricing.batch_size) as written:
        forget_prefixes(*readers)
        for each, own in progress(pricing.priced(written.done), "episodes", total - written.done):
            line = line_of(each, own)
            written.write(record_of(each, line, pricing.rewards[0], own | anew) if records else line)
            tally.add(line)
            if written.done % pricing.batch_size == 0:
                forget_prefixes(*readers)
        pricing.meter.check(written.done, total, "episodes")


class Tally:
    """What the lines of the output come to: the returns by reward, and what the scorer could not read."""

    def __init__(self, rewards: Iterable[str]) -> None:
        from igpo_gym.agents.rollouts.summary import Values

        self.returns = {name: Values() for name in rewards}
        self.unread: Counter[str] = Counter()

    def add(self, line: Mapping[str, Any]) -> None:
        """Count what an episode is paid."""
        if line.get(UNREAD):
            self.unread["episodes" if line["rewards"] else "prompts"] += 1
        unit = f"{line['questions']}: {line['question_id']}"  # sets may share ids
        for name, paid in line["rewards"].items():
            self.returns[name].add(paid["return"], unit)

    def add_record(self, record: Mapping[str, Any]) -> None:
        """Count what a whole record says that its episode is paid."""
        from igpo_gym.agents.rollouts.records import set_of

        told = {"questions": set_of(record["settings"]), "question_id": record["question"]["id"]}
        self.add({**told, UNREAD: record.get(UNREAD), "rewards": record["priced"]})

    def show(self) -> None:
        """Print the mean returns, and how many episodes have none."""
        console.print(_table(self.returns))
        if prompts := self.unread["prompts"]:
            console.print(
                f"{prompts} episodes are not priced: their prompts are longer than the scorer reads"
            )
        if episodes := self.unread["episodes"]:
            console.print(
                f"{episodes} episodes are longer than the scorer reads: turns behind that have no gain"
            )


def _table(returns: dict[str, Values]) -> Table:
    """The mean return under each reward, with its 95% interval over questions."""
    from igpo_gym.statistics import mean_over

    table = Table("reward", "return", "95% interval", "questions", "episodes")
    for name, found in returns.items():
        cells = in_cells(mean_over(found.values, found.questions))
        table.add_row(escape(name), *cells, str(len(found.values)))
    return table
