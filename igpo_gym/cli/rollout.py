"""``igpo-gym rollout``: a policy plays many episodes into a file."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from igpo_gym.cli.common import (
    MaxTurns,
    ProtocolName,
    Questions,
    Reference,
    Reward,
    Scorer,
    SearchSpec,
    Seed,
    TopK,
    assemble,
    console,
    explained,
    progress,
    scripted_agent,
)

if TYPE_CHECKING:
    from igpo_gym.episode import Episode, Question


def rollout(
    out: Annotated[Path, typer.Option(help="The JSONL file, one episode a line; resumed if it exists.")],
    agent: Annotated[str, typer.Option(help="A scripted agent, e.g. [b]expert[/b] or [b]irrelevant[/b].")],
    episodes: Annotated[int, typer.Option(min=1, help="How many episodes, at most one a question.")] = 100,
    batch_size: Annotated[int, typer.Option(min=1, help="How many episodes run at a time.")] = 16,
    questions: Questions = "world",
    search: SearchSpec = None,
    scorer: Scorer = "nano",
    reward: Reward = "igpo",
    reference: Reference = None,
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
    with explained():
        question_set, engine = assemble(
            questions, search, scorer, reward, protocol, max_turns, top_k, reference
        )
        policy = scripted_agent(agent, question_set, engine, seed)
        chosen = question_set.questions[:episodes]
        settings["questions_hash"] = _digest(question_set.questions)
        with RolloutFile(out, settings) as file:
            remaining = [question for question in chosen if question.id not in file.done]
            began, turns = time.perf_counter(), 0
            played = collect(engine, policy, remaining, batch_size)
            for episode in progress(played, "episodes", len(remaining)):
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
    (
        "agent",
        "questions",
        "search",
        "scorer",
        "reward",
        "reference",
        "protocol",
        "max_turns",
        "top_k",
        "seed",
    )
)
"""The options that an episode depends on, kept with each recorded episode."""


def _digest(questions: Iterable[Question]) -> str:
    """A hash of the questions: a file of the same name may hold others by the time a run is resumed."""
    digest = hashlib.sha256()
    for question in questions:
        digest.update(repr((question.id, question.text, question.answers)).encode("utf-8", "replace"))
    return digest.hexdigest()[:16]


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
