"""``igpo-gym rollout``: a policy plays many episodes into a file."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from igpo_gym.cli.common import (
    Agent,
    BatchSize,
    MaxTokens,
    MaxTurns,
    Out,
    ProtocolName,
    Questions,
    Reference,
    Reward,
    Scorer,
    SearchSpec,
    Seed,
    Temperature,
    TopK,
    TopP,
    assemble,
    console,
    explained,
    in_cells,
    make_policy,
    progress,
)

if TYPE_CHECKING:
    from igpo_gym.data.interface import QuestionSet
    from igpo_gym.envs.engine import Engine
    from igpo_gym.episode import Episode, Question
    from igpo_gym.lm.policy import Policy
    from igpo_gym.statistics import Bounds


def rollout(
    out: Out,
    agent: Agent,
    episodes: Annotated[int, typer.Option(min=1, help="How many questions, at most all.")] = 100,
    group_size: Annotated[int, typer.Option(min=1, help="Episodes per question.")] = 1,
    batch_size: BatchSize = 16,
    questions: Questions = "world",
    search: SearchSpec = None,
    scorer: Scorer = "nano",
    reward: Reward = "igpo",
    reference: Reference = None,
    protocol: ProtocolName = "tags",
    max_turns: MaxTurns = 6,
    top_k: TopK = 3,
    temperature: Temperature = 1.0,
    top_p: TopP = 1.0,
    max_tokens: MaxTokens = 256,
    seed: Seed = 0,
) -> None:
    """Let an agent play many episodes, and record them.

    Questions are played in order, each by a group of [b]group-size[/b] episodes. An interrupted run keeps
    what it had; the same command goes on from there.

    Examples:

      igpo-gym rollout --agent expert --episodes 200 --out expert.jsonl

      igpo-gym rollout --agent nano --group-size 8 --episodes 20 --out groups.jsonl

      igpo-gym rollout --agent http://host:8000/v1 --questions hotpotqa:dev.jsonl --out server.jsonl
    """
    from igpo_gym.agents.rollouts.records import read_rollouts
    from igpo_gym.lm.policy import Sampling

    settings = recorded(locals())
    with explained():
        question_set, engine = assemble(
            questions, search, scorer, reward, protocol, max_turns, top_k, reference
        )
        sampling = Sampling(temperature, top_p, max_tokens=max_tokens, seed=seed)
        policy = make_policy(agent, question_set, engine, sampling)
        settings |= fingerprints(question_set, agent=agent, scorer=scorer, reference=reference, search=search)
        chosen = question_set.questions[:episodes]
        played = record(engine, policy, chosen, out, settings, batch_size, group_size)
        console.print(_summary(read_rollouts(out)))
        stats = getattr(engine.scorer, "stats", None)
        if stats is not None and played:
            console.print(f"scorer: {stats}")


SETTINGS = frozenset(
    (
        *("agent", "questions", "search", "scorer", "reward", "reference", "protocol", "max_turns", "top_k"),
        *("temperature", "top_p", "max_tokens", "seed"),
    )
)
"""The options that an episode depends on, kept with each recorded episode."""


def recorded(options: dict[str, Any]) -> dict[str, Any]:
    """Those of ``SETTINGS``, without the credentials of URLs."""
    from igpo_gym.text import without_credentials

    return {
        name: without_credentials(value) if isinstance(value, str) else value
        for name, value in options.items()
        if name in SETTINGS
    }


def fingerprints(question_set: QuestionSet, **specs: str | None) -> dict[str, Any]:
    """What tells that questions, models or an index of the same name are others by the time of a resume."""
    from igpo_gym.specs import fingerprint

    questions = question_set.questions
    return {
        "questions_hash": _digest((each.id, each.text, each.answers) for each in questions),
        "evidence_hash": _digest((each.id, each.evidence) for each in questions),
        "passages_hash": question_set.fingerprint,
        **{f"{name}_fingerprint": fingerprint(spec) for name, spec in specs.items()},
    }


def record(
    engine: Engine,
    policy: Policy,
    questions: Sequence[Question],
    out: Path,
    settings: dict[str, Any],
    batch_size: int,
    group_size: int,
) -> int:
    """Play what the file does not have yet into it, with a progress bar; returns how many episodes."""
    from igpo_gym.agents.rollouts.collect import collect
    from igpo_gym.agents.rollouts.records import RolloutFile

    with RolloutFile(out, settings, settings.keys() - SETTINGS, engine.reward) as file:
        wanted = {(question.id, attempt) for question in questions for attempt in range(group_size)}
        remaining = len(wanted - file.done)
        began, turns = time.perf_counter(), 0
        played = collect(engine, policy, questions, batch_size, group_size, frozenset(file.done))
        for episode in progress(played, "episodes", remaining):
            file.write(episode)
            turns += len(episode.turns)
        seconds = time.perf_counter() - began
    if remaining:
        console.print(f"{remaining} episodes, {turns} steps, {seconds / max(turns, 1):.4f} s a step")
    return remaining


def _digest(values: Iterable[tuple[Any, ...]]) -> str:
    digest = hashlib.sha256()
    for value in values:
        digest.update(repr(value).encode("utf-8", "replace"))
    return digest.hexdigest()[:16]


def _summary(episodes: Iterable[Episode]) -> Table:
    """The scores, beliefs and gains of recorded episodes as a table, with 95% intervals over questions."""
    from igpo_gym.agents.rollouts.summary import summarize
    from igpo_gym.statistics import ANYTHING, SHARE, mean_over

    summary = summarize(episodes)
    questions = summary.questions
    rows: list[tuple[str, Sequence[float], Sequence[str], Bounds]] = [
        ("exact match", summary.exact_matches, questions, SHARE),
        ("F1", summary.f1s, questions, SHARE),
        ("searches", summary.searches, questions, ANYTHING),
        ("return", summary.returns, questions, ANYTHING),
    ]
    rows += [
        (f"belief after turn {turn}", found.values, found.questions, SHARE)
        for turn, found in sorted(summary.beliefs.items())
    ]
    for kind, gains in sorted(summary.gains.items()):
        positive = [float(gain > 0) for gain in gains.values]
        rows.append((f"gain of a search, {kind}", gains.values, gains.questions, ANYTHING))
        rows.append((f"share of positive gains, {kind}", positive, gains.questions, SHARE))
    table = Table("measure", "mean", "95% interval", "questions", "n")
    for name, values, of, bounds in rows:
        table.add_row(name, *in_cells(mean_over(values, of, bounds)), str(len(values)))
    return table
