"""The command line: ``igpo-gym play | rollout | rewards | index | world``."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from igpo_gym.errors import ScoringError

if TYPE_CHECKING:
    from igpo_gym.agents.interface import Policy
    from igpo_gym.data.interface import QuestionSet
    from igpo_gym.envs.engine import Engine
    from igpo_gym.episode import Episode, Question

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Search question answering as Gymnasium environments whose step pays information gain.",
)
index_app = typer.Typer(no_args_is_help=True, help="Build search indexes.")
app.add_typer(index_app, name="index")

console = Console()

T = TypeVar("T")

Questions = Annotated[
    str,
    typer.Option(help="Where questions come from: [b]world[/b], [b]hotpotqa:FILE[/b], [b]jsonl:FILE[/b]."),
]
SearchSpec = Annotated[
    str | None,
    typer.Option("--search", help="[b]bm25:INDEX[/b]; by default BM25 over the questions' own passages."),
]
Scorer = Annotated[
    str,
    typer.Option(
        help="The model that holds the belief: [b]nano[/b], a hub name, a folder, a GGUF file, or none."
    ),
]
Reward = Annotated[str, typer.Option(help="A reward or a sum of them, see [b]igpo-gym rewards[/b].")]
ProtocolName = Annotated[str, typer.Option("--protocol", help="The agent's grammar: tags or tool_call.")]
MaxTurns = Annotated[int, typer.Option(min=1, help="Messages the agent may write in an episode.")]
TopK = Annotated[int, typer.Option(min=1, help="Passages that a query brings.")]
Seed = Annotated[int, typer.Option(help="Seeds the agent, and the question that play begins with.")]


@app.command()
def play(
    agent: Annotated[
        str | None, typer.Option(help="Let a scripted agent play instead of you, e.g. [b]expert[/b].")
    ] = None,
    questions: Questions = "world",
    search: SearchSpec = None,
    scorer: Scorer = "nano",
    reward: Reward = "igpo",
    protocol: ProtocolName = "tags",
    max_turns: MaxTurns = 6,
    top_k: TopK = 3,
    seed: Seed = 0,
) -> None:
    """Play an episode in the terminal, or watch one.

    Type a query to search, [b]/answer TEXT[/b] to answer, [b]/quit[/b] to leave, or a whole message of the
    protocol.

    Examples:

      igpo-gym play

      igpo-gym play --agent expert --seed 3
    """
    from igpo_gym.data.metrics import f1
    from igpo_gym.envs.render import moment, printable
    from igpo_gym.envs.setup import QuestionStream

    with _explained():
        question_set, engine = _assemble(questions, search, scorer, reward, protocol, max_turns, top_k)
        policy = _agent(agent, question_set, engine, seed) if agent else None
        (episode,) = engine.begin([QuestionStream(question_set.questions, seed)[0]])
        engine.settle([], [episode])
        console.print(moment(episode, 0))
        while not episode.done:
            message = policy.act([episode])[0] if policy else _typed(engine)
            if message is None:
                return
            engine.settle(engine.play([episode], [message]))
            console.print(moment(episode, len(episode.turns)))
    ending = "answered" if episode.terminated else "out of turns"
    score = f1(episode.prediction, episode.question.answers)
    gold = printable(" or ".join(episode.question.answers))
    console.print(f"{ending}: F1 {score:.2f}; gold answer: {gold}", markup=False)


@app.command()
def rollout(
    out: Annotated[Path, typer.Option(help="The JSONL file, one episode a line; resumed if it exists.")],
    agent: Annotated[str, typer.Option(help="A scripted agent, e.g. [b]expert[/b] or [b]irrelevant[/b].")],
    episodes: Annotated[int, typer.Option(min=1, help="How many episodes, at most one a question.")] = 100,
    batch_size: Annotated[int, typer.Option(min=1, help="How many episodes run at a time.")] = 16,
    questions: Questions = "world",
    search: SearchSpec = None,
    scorer: Scorer = "nano",
    reward: Reward = "igpo",
    protocol: ProtocolName = "tags",
    max_turns: MaxTurns = 6,
    top_k: TopK = 3,
    seed: Seed = 0,
) -> None:
    """Let an agent play many episodes, and record them.

    Each question is played once, in order. An interrupted run keeps what it had; the same command goes on
    from there.

    Examples:

      igpo-gym rollout --agent expert --episodes 200 --out expert.jsonl

      igpo-gym rollout --agent scripted --questions hotpotqa:dev.jsonl --scorer ./SmolLM2 --out smol.jsonl
    """
    from igpo_gym.agents.records import RolloutFile, read_rollouts
    from igpo_gym.agents.rollouts import collect

    settings = {name: value for name, value in locals().items() if name in _SETTINGS}
    with _explained():
        question_set, engine = _assemble(questions, search, scorer, reward, protocol, max_turns, top_k)
        policy = _agent(agent, question_set, engine, seed)
        chosen = question_set.questions[:episodes]
        settings["questions_hash"] = _digest(question_set.questions)
        with RolloutFile(out, settings) as file:
            remaining = [question for question in chosen if question.id not in file.done]
            began, turns = time.perf_counter(), 0
            played = collect(engine, policy, remaining, batch_size)
            for episode in _progress(played, "episodes", len(remaining)):
                file.write(episode)
                turns += len(episode.turns)
            seconds = time.perf_counter() - began
        if remaining:
            console.print(f"{len(remaining)} episodes, {turns} steps, {seconds / max(turns, 1):.4f} s a step")
        console.print(_summary(read_rollouts(out)))
        stats = getattr(engine.scorer, "stats", None)
        if stats is not None and remaining:
            console.print(f"scorer: {stats}")


_SETTINGS = frozenset(
    ("agent", "questions", "search", "scorer", "reward", "protocol", "max_turns", "top_k", "seed")
)
"""The options that an episode depends on, kept with each recorded episode."""


@index_app.command("build")
def build_index(
    file: Annotated[Path, typer.Argument(help="JSONL: id, contents (Search-R1) or _id, title, text (BEIR).")],
    out: Annotated[Path, typer.Argument(help="The folder of the index; one that is there is replaced.")],
) -> None:
    """Build a BM25 index of a corpus.

    Example:

      igpo-gym index build corpus.jsonl wiki-index

      igpo-gym rollout --search bm25:wiki-index --questions jsonl:questions.jsonl ...
    """
    from igpo_gym.search.bm25 import BM25Index
    from igpo_gym.search.corpus import read_corpus

    with _explained():
        index = BM25Index.build(read_corpus(file), progress=True)
        index.save(out)
    console.print(
        f"{len(index):,} passages indexed in {out}; search them with --search bm25:{out}", markup=False
    )


@app.command()
def world(
    out: Annotated[Path, typer.Option(help="The folder for corpus.jsonl and questions.jsonl.")],
    documents: Annotated[int, typer.Option(help="How many documents, from 40 to ten million.")] = 500,
    questions: Annotated[int, typer.Option(help="How many questions.")] = 500,
    hops: Annotated[str, typer.Option(help="Facts a question chains: a number or a range, 1 to 4.")] = "1-3",
    coupling: Annotated[float, typer.Option(help="How much a hop says about later ones, 0 to 1.")] = 0.8,
    split: Annotated[str, typer.Option(help="train, validation or test: they share no names.")] = "train",
    seed: Annotated[int, typer.Option(help="Another seed is another world.")] = 0,
) -> None:
    """Write a generated world to files: a corpus of invented facts, and questions over it.

    Examples:

      igpo-gym world --documents 100000 --out world

      igpo-gym index build world/corpus.jsonl world/index

      igpo-gym rollout --questions jsonl:world/questions.jsonl --search bm25:world/index ...
    """
    from igpo_gym.data.world import parse_world, write_world

    with _explained():
        made = parse_world(
            f"{split},documents={documents},questions={questions},hops={hops},coupling={coupling},seed={seed}"
        )
        write_world(out, made, _progress)
    console.print(
        f"{documents:,} documents in {out}/corpus.jsonl, {questions:,} questions in questions.jsonl"
    )


@app.command()
def rewards() -> None:
    """List the rewards: the presets, and the terms that they and your own sums are made of.

    A reward is a preset, a term, or a weighted sum of them.

    Example:

      igpo-gym rewards

      igpo-gym rollout --reward "igpo + 0.1*evidence-recall - 0.01*search-cost" ...
    """
    from igpo_gym.rewards import PRESETS, TERMS

    presets = Table("preset", "terms")
    for name, reward in PRESETS.items():
        presets.add_row(name, " ".join(f"{weight:+g}*{term.name}" for weight, term in reward.terms))
    terms = Table("term", "value of a turn", "needs", "source")
    for name, term in TERMS.items():
        terms.add_row(name, escape(term.formula), ", ".join(sorted(term.needs)), term.source)
    console.print(presets, terms)


def _assemble(
    questions: str, search: str | None, scorer: str, reward: str, protocol: str, max_turns: int, top_k: int
) -> tuple[QuestionSet, Engine]:
    from igpo_gym.envs.setup import assemble

    with console.status("loading questions, index and scorer"):
        return assemble(questions, search, scorer, reward, protocol, max_turns, top_k)


def _agent(name: str, question_set: QuestionSet, engine: Engine, seed: int) -> Policy:
    from igpo_gym.agents.scripted import ScriptedAgent

    return ScriptedAgent(name, question_set, engine.protocol, seed)


def _typed(engine: Engine) -> str | None:
    """A message for what the person types, or None to leave."""
    from igpo_gym.episode import Answer, Search

    try:
        line = console.input("[bold]search[/bold] (or /answer TEXT, /quit)> ").strip()
    except (EOFError, KeyboardInterrupt):
        return None
    if line == "/quit":
        return None
    command, _, text = line.partition(" ")
    if command == "/answer":
        return engine.protocol.write(Answer(text.strip()))
    return line if line.startswith("<") or not line else engine.protocol.write(Search((line,)))


def _digest(questions: Iterable[Question]) -> str:
    """A hash of the questions: a file of the same name may hold others by the time a run is resumed."""
    digest = hashlib.sha256()
    for question in questions:
        digest.update(repr((question.id, question.text, question.answers)).encode("utf-8", "replace"))
    return digest.hexdigest()[:16]


def _progress(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    from rich.progress import track

    yield from track(items, description=what, total=total, console=console)


def _summary(episodes: Iterable[Episode]) -> Table:
    """The scores, beliefs and gains of recorded episodes as a table, with 95% intervals."""
    from igpo_gym.agents.summary import interval, summarise

    summary = summarise(episodes)
    table = Table("measure", "mean", "95%", "n")
    rows: dict[str, list[float] | list[int]] = {
        "exact match": summary.exact_matches,
        "F1": summary.f1s,
        "searches": summary.searches,
        "return": summary.returns,
        **{f"belief after turn {turn}": values for turn, values in sorted(summary.beliefs.items())},
    }
    for kind, gains in sorted(summary.gains.items()):
        rows[f"gain of a search, {kind}"] = gains
        rows[f"share of positive gains, {kind}"] = [float(gain > 0) for gain in gains]
    for name, values in rows.items():
        mean, half = interval(values)
        table.add_row(name, f"{mean:.4f}", f"± {half:.4f}" if len(values) > 1 else "", str(len(values)))
    return table


@contextmanager
def _explained() -> Iterator[None]:
    """A user's mistake ends the command with its explanation instead of a traceback."""
    try:
        yield
    except (ValueError, ImportError, OSError, ScoringError) as mistake:
        Console(stderr=True).print(f"[bold red]error[/bold red] {escape(str(mistake))}")
        raise typer.Exit(2) from mistake
