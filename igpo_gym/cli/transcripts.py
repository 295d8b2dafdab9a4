"""``igpo-gym import`` and ``igpo-gym show``: transcripts of any agent as records, and records to look at."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from igpo_gym.cli.common import ClearText, console, explained, in_cells, tell_doubled

if TYPE_CHECKING:
    from igpo_gym.agents.rollouts.searches import Searches
    from igpo_gym.episode import Episode
    from igpo_gym.errors import DataError

LISTED = 20
"""How many of the records that cannot be read are listed; the rest is counted."""


def import_transcripts(
    file: Annotated[Path, typer.Argument(help="JSON lines, a JSON array, parquet, or a log of Inspect.")],
    out: Annotated[
        Path, typer.Option(help="The JSONL file of records to write; one that is there is replaced.")
    ],
    layout: Annotated[
        str,
        typer.Option(help="How the records are laid out, by default found out by the content of each."),
    ] = "auto",
    questions: Annotated[
        str | None,
        typer.Option(
            help="A set of questions in which the gold answers are found, by id or by text; records of this "
            "package keep theirs."
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first record that cannot be read.")
    ] = False,
    clear_text: ClearText = False,
) -> None:
    """Read the transcripts of any search agent, and write them as records.

    Messages with roles, Search-R1, R1-Searcher, ReSearch, ReCall, DeepResearcher, WebDancer, dumps of verl,
    traces of verifiers, logs of Inspect. What cannot be read is listed with its place and the reason.

    Examples:

      igpo-gym import logs.jsonl --out records.jsonl

      igpo-gym import dump.jsonl --questions hotpotqa:dev.jsonl --out records.jsonl
    """
    from igpo_gym.agents.rollouts.records import record_line
    from igpo_gym.agents.rollouts.transcripts import read_transcripts
    from igpo_gym.agents.rollouts.transcripts.own import SETTINGS
    from igpo_gym.specs import named_paths
    from igpo_gym.storage import check_writable, written_file
    from igpo_gym.text import without_credentials

    unread: list[str] = []
    problems = 0

    def tell(problem: DataError) -> None:
        nonlocal problems
        problems += 1
        if strict:
            raise problem
        if len(unread) < LISTED:
            unread.append(str(problem))

    settings = {} if questions is None else {"questions": without_credentials(questions)}
    found: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    with explained():
        check_writable(out, file, *named_paths(questions))
        with written_file(out) as written:
            for episode in read_transcripts(file, layout, questions=questions, unread=tell):
                made_with = episode.extra.pop(SETTINGS, settings)
                written.write(record_line(made_with, episode, clear_text=clear_text))
                found[str(episode.imported.get("layout", "igpo-gym"))] += 1
                ends[str(episode.end)] += 1
            if not found:
                told = f"; {problems} records cannot be read, the first: {unread[0]}" if unread else ""
                raise ValueError(f"{file} holds no transcript{told}")
    layouts = ", ".join(f"{count} of the layout {name}" for name, count in found.items())
    told = ", ".join(f"{count} {name}" for name, count in ends.items())
    console.print(f"{found.total()} episodes: {layouts} ({told})", markup=False)
    if problems:
        console.print(f"{problems} records cannot be read:", markup=False)
        for problem in unread:
            console.print(f"  {problem}", markup=False, soft_wrap=True)
        if problems > len(unread):
            console.print(f"  and {problems - len(unread)} more", markup=False)


def show_episodes(
    file: Annotated[Path, typer.Argument(help="Recorded or imported episodes.")],
    id: Annotated[
        list[str] | None, typer.Option("--id", help="The id of a question; give it several times.")
    ] = None,
    number: Annotated[
        int | None,
        typer.Option(
            "--episodes",
            min=1,
            help="How many episodes to show, by default one; with [b]--id[/b] alone all of it.",
        ),
    ] = None,
    worst: Annotated[bool, typer.Option("--worst", help="Those of the lowest value come first.")] = False,
    best: Annotated[bool, typer.Option("--best", help="Those of the highest value come first.")] = False,
    by: Annotated[
        str | None,
        typer.Option(
            help="The value: reward, gain (of the belief), turns, or an answer metric such as f1; by default "
            "the reward where the file has rewards, else f1. Episodes without it come last."
        ),
    ] = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="Show no episode, but what the searches of all brought.")
    ] = False,
    metric: Annotated[
        str | None, typer.Option(help="For the summary: by which metric an answer is right, by default em.")
    ] = None,
) -> None:
    """Show recorded episodes in the terminal, with the belief after each turn.

    Examples:

      igpo-gym show records.jsonl --worst --episodes 3

      igpo-gym show records.jsonl --id q7

      igpo-gym show priced.jsonl --summary
    """
    from igpo_gym.agents.rollouts.records import read_recordings, read_rollouts, set_of
    from igpo_gym.agents.rollouts.searches import searches
    from igpo_gym.data.scores import resolve_metric

    with explained():
        if summary:
            if id or number or worst or best or by:
                raise ValueError(
                    "--summary is of all episodes: give it no --id, --episodes, --worst, --best or --by"
                )
            metric = metric or "em"
            resolve_metric(metric)
            played = ((set_of(kept), each) for kept, each in read_recordings(file))
            _print_summary(searches(played, metric), metric)
            tell_doubled(file)
            return
        if metric:
            raise ValueError("--metric is for the --summary; --by puts episodes in order")
        if worst and best:
            raise ValueError("--worst and --best cannot both come first; give one of them")
        episodes: Iterable[Episode] = read_rollouts(file)
        if id:
            wanted = set(id)
            episodes = (episode for episode in episodes if episode.question.id in wanted)
        if worst or best or by:
            pick = heapq.nlargest if best else heapq.nsmallest
            name, value = _value(by, file)
            chosen = pick(number or 1, episodes, key=lambda episode: _place(value(episode), best))
            if chosen and value(chosen[0]) is None:
                raise ValueError(f"{file} has no episode with a {name} to order by; take another --by")
        else:
            chosen = list(itertools.islice(episodes, number if number or id else 1))
        # With a number of episodes those of a question may not have had their turn.
        shown = {episode.question.id for episode in chosen}
        missing = [] if chosen and number else [each for each in id or () if each not in shown]
        if missing or not chosen:
            raise ValueError(
                f"{file} has no episode" + f" of the question {', '.join(missing)}" * bool(missing)
            )
        for episode in chosen:
            _print_episode(episode)
        if worst or best or by:
            tell_doubled(file)


def _place(value: float | None, best: bool) -> tuple[bool, float]:
    """What puts episodes without a value last, whichever come first."""
    return (value is not None) is best, value or 0.0


def _value(by: str | None, file: Path) -> tuple[str, Callable[[Episode], float | None]]:
    """What episodes are put in order by; None of one that has no such value."""
    from igpo_gym.agents.rollouts.records import read_rollouts
    from igpo_gym.data.scores import final_score, resolve_metric

    if by is None:
        by = "reward" if next((bool(episode.rewards) for episode in read_rollouts(file)), False) else "f1"
    if by in _VALUES:
        return by, _VALUES[by]
    try:
        metric = resolve_metric(by)
    except ValueError as problem:
        raise ValueError(f"--by is {', '.join(_VALUES)}, or a metric: {problem}") from None
    return by, partial(final_score, metric)


_VALUES: dict[str, Callable[[Episode], float | None]] = {
    "reward": lambda episode: episode.total_reward if episode.rewards else None,
    "gain": lambda episode: episode.belief_gain,
    "turns": lambda episode: len(episode.turns),
}


def _print_episode(episode: Episode) -> None:
    from igpo_gym.data.scores import final_score
    from igpo_gym.envs.render import dialogue

    question = episode.question
    came = episode.imported
    source = f" (imported: layout {came.get('layout')}, {came.get('place')})" if came else ""
    console.rule(escape(f"{question.id}, attempt {episode.attempt}{source}"))
    console.print(dialogue(episode))
    gold = " or ".join(question.answers)
    returned = f"; return {episode.total_reward:+.3f}" if episode.rewards else ""
    f1 = final_score("f1", episode)
    scored = "no score" if f1 is None else f"F1 {f1:.2f}"
    console.print(f"{episode.end}: {scored}{returned}; gold answer: {gold}", markup=False)


def _print_summary(found: Searches, metric: str) -> None:
    from igpo_gym.agents.rollouts.searches import GAIN, PREDICTORS

    console.print(f"{found.episodes} episodes, {found.right} right by {metric}", markup=False)
    if found.aborted:
        console.print(f"{found.aborted} were aborted, and are neither right nor wrong", markup=False)
    if found.untold:
        console.print(
            f"{found.untold} of protected questions, whose records do not tell {metric}", markup=False
        )
    if found.unmeasured:
        console.print(
            f"{found.unmeasured} have no beliefs: measure them with igpo-gym relabel --records --scorer ...",
            markup=False,
        )
    if not found.predictors:
        return
    shares = Table(Column("searches", no_wrap=True), "value", "95% interval", "questions")
    shares.add_row("raised the belief", *in_cells(found.gained()))
    for name in PREDICTORS:
        if name in found.predictors:
            shares.add_row(f"AUC: {name} tells a right answer", *in_cells(found.auc(name)))
    count = sum(len(side.values) for side in found.predictors.get(GAIN, {}).values())
    console.print(shares, f"{count} searches")
    curves = Table(
        "mean belief after turn", "right", "95% interval", "episodes", "wrong", "95% interval", "episodes"
    )
    rows = {turn: _cells(found, turn) for side in (True, False) for turn, _ in found.curve(side)}
    for turn in sorted(rows):
        curves.add_row(str(turn), *rows[turn])
    console.print(curves)


def _cells(found: Searches, turn: int) -> list[str]:
    cells: list[str] = []
    for right in (True, False):
        estimate = dict(found.curve(right)).get(turn)
        cells += ["", "", "0"] if estimate is None else in_cells(estimate)[:2]
        if estimate is not None:
            cells.append(str(len(found.curves[right][turn].values)))
    return cells
