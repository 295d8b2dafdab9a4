"""``igpo-gym eval``: how well a policy answers the questions of a set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from igpo_gym.cli.common import (
    TOO_FEW,
    Agent,
    BatchSize,
    MaxTokens,
    Out,
    Seed,
    Temperature,
    TopP,
    assemble,
    console,
    in_cells,
    make_policy,
    tell_cache,
)
from igpo_gym.cli.options import configured
from igpo_gym.cli.rollout import Recording, record
from igpo_gym.config import EnvConfig

if TYPE_CHECKING:
    from igpo_gym.episode import Episode


@configured(
    EnvConfig, without=("order", "group_size"), questions="world:test", scorer="none", reward="outcome-f1"
)
def evaluate(
    config: EnvConfig,
    out: Out,
    agent: Agent = "nano",
    episodes: Annotated[int, typer.Option(min=1, help="How many questions, at most all.")] = 200,
    attempts: Annotated[
        int, typer.Option(min=1, help="Episodes per question, averaged; more than 1 want a temperature.")
    ] = 1,
    batch_size: BatchSize = 64,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    max_tokens: MaxTokens = 256,
    seed: Seed = 0,
) -> None:
    """Measure how well an agent answers questions.

    Prints exact match, F1, cover exact match (the answer contains a gold one), the share of episodes that
    ended with an answer, the share of messages that were valid actions, and turns with tools, each with a 95%
    interval over questions. The episodes are kept; the same command goes on from them.

    Examples:

      igpo-gym eval --out nano.jsonl

      igpo-gym eval --agent ./checkpoint --questions hotpotqa:dev.jsonl --episodes 500 --out dev.jsonl

      igpo-gym eval --agent http://host:8000/v1 --temperature 0.7 --attempts 4 --out server.jsonl
    """
    from igpo_gym.agents.rollouts.records import read_rollouts
    from igpo_gym.lm.policy import Sampling

    question_set, engine = assemble(config)
    sampling = Sampling(temperature, top_p, max_tokens=max_tokens, seed=seed)
    policy = make_policy(agent, question_set, engine, sampling)
    chosen = question_set.questions[:episodes]
    recording = Recording.of(config, question_set, agent, sampling)
    record(engine, policy, chosen, out, recording, batch_size, attempts)
    wanted = {(question.id, attempt) for question in chosen for attempt in range(attempts)}
    found = (e for e in read_rollouts(out) if (e.question.id, e.attempt) in wanted)
    console.print(_scores(found))
    tell_cache(engine.facts())


def _scores(episodes: Iterable[Episode]) -> Table:
    from igpo_gym.agents.rollouts.summary import summarize
    from igpo_gym.statistics import ANYTHING, SHARE, mean_over

    summary = summarize(episodes)
    measures = (
        ("exact match", summary.exact_matches, SHARE),
        ("F1", summary.f1s, SHARE),
        ("cover exact match", summary.cover_matches, SHARE),
        ("answered", summary.answered, SHARE),
        ("valid actions", summary.valid_actions, SHARE),
        ("turns with tools", summary.tool_turns, ANYTHING),
    )
    table = Table("measure", "mean", "95% interval")
    known = True
    for name, values, bounds in measures:
        mean, ends, _ = in_cells(mean_over(values, summary.questions, bounds))
        table.add_row(name, mean, ends)
        known = known and bool(ends)
    table.caption = f"{len(set(summary.questions))} questions, {len(summary.questions)} episodes"
    if not known:
        table.caption += f"; {TOO_FEW}"
    return table
