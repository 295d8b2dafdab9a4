"""``igpo-gym rollout``: a policy plays many episodes into a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from igpo_gym.cli.common import (
    Agent,
    BatchSize,
    BudgetText,
    ClearText,
    EstimateOnly,
    Limit,
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
    tell_estimate,
    tell_view,
)
from igpo_gym.cli.options import configured
from igpo_gym.cli.recording import Recording, episodes_left, record
from igpo_gym.config import EnvConfig
from igpo_gym.errors import SpecError

if TYPE_CHECKING:
    from igpo_gym.episode import Episode
    from igpo_gym.statistics import Bounds


@configured(EnvConfig, without=("order",))
def rollout(
    config: EnvConfig,
    out: Out,
    agent: Agent,
    limit: Limit = 100,
    batch_size: BatchSize = 16,
    temperature: Temperature = 1.0,
    top_p: TopP = 1.0,
    max_tokens: MaxTokens = 256,
    seed: Seed = 0,
    branch: Annotated[
        str | None,
        typer.Option(
            help="More attempts from a state of each ended episode: [b]belief:2[/b] two from before the turn "
            "with the largest gain or loss of belief, [b]even:2[/b] two, spread over its turns."
        ),
    ] = None,
    clear_text: ClearText = False,
    budget: BudgetText = None,
    estimate: EstimateOnly = False,
) -> None:
    """Let an agent play many episodes, and record them.

    Questions are played in order, each by a group of [b]group-size[/b] episodes. An interrupted run keeps
    what it had; the same command goes on from there.

    Examples:

      igpo-gym rollout --agent expert --limit 200 --out expert.jsonl

      igpo-gym rollout --agent nano --group-size 8 --limit 20 --out groups.jsonl

      igpo-gym rollout --agent nano --group-size 4 --branch belief:2 --limit 20 --out trees.jsonl

      igpo-gym rollout --agent http://host:8000/v1 --questions hotpotqa:dev.jsonl --out server.jsonl
    """
    from igpo_gym.agents.policies.bounds import played_by
    from igpo_gym.agents.rollouts.branches import Branching
    from igpo_gym.agents.rollouts.costs import Budget, Meter
    from igpo_gym.agents.rollouts.records import read_rollouts
    from igpo_gym.lm.policy import Sampling
    from igpo_gym.scorers.interface import ScorerStats
    from igpo_gym.storage import check_writable

    meter = Meter(Budget.parse(budget))
    check_writable(out)
    branching = None if branch is None else Branching.parse(branch)
    if branching and estimate:
        raise SpecError("--estimate tells of episodes that begin at the prompt: leave --branch out of it")
    config = played_by(agent, config)
    question_set, engine = assemble(config)
    if branching and branching.where == "belief" and engine.scorer is None:
        raise SpecError("--branch belief needs beliefs, which say where: give --scorer, or take even:2")
    sampling = Sampling(temperature, top_p, max_tokens=max_tokens, seed=seed)
    policy = make_policy(agent, question_set, engine, sampling)
    recording = Recording.of(config, question_set, agent, sampling)
    if branch is not None:  # attempts are numbered by both
        recording.settings.update(branch=branch, group_size=config.group_size)
    chosen = question_set.questions[:limit]
    if estimate:
        work = episodes_left(engine, policy, chosen, out, recording, batch_size, config.group_size)
        tell_estimate([work])
        return
    played = record(
        engine,
        policy,
        chosen,
        out,
        recording,
        batch_size,
        config.group_size,
        clear_text,
        branching=branching,
        meter=meter,
    )
    if out.is_file():
        console.print(_summary(read_rollouts(out)))
    stats = getattr(engine.scorer, "stats", None)
    if isinstance(stats, ScorerStats) and played:
        tokens = f"{stats.tokens_forwarded} tokens read and {stats.tokens_reused} reused"
        console.print(f"scorer: {stats.requests} requests in {stats.seconds:.1f} s, {tokens}")
    tell_cache(engine.facts())
    if out.is_file():
        tell_view(out)


def _summary(episodes: Iterable[Episode]) -> Table:
    """The scores, beliefs and gains of recorded episodes as a table, with 95% intervals over questions."""
    from igpo_gym.agents.rollouts.summary import summarize
    from igpo_gym.statistics import ANYTHING, SHARE, mean_over

    summary = summarize(episodes)
    questions, scored = summary.questions, summary.scored
    rows: list[tuple[str, Sequence[float], Sequence[str], Bounds]] = [
        ("exact match", summary.exact_matches, scored, SHARE),
        ("F1", summary.f1s, scored, SHARE),
        ("turns with tools", summary.tool_turns, questions, ANYTHING),
        ("return", summary.returns, scored, ANYTHING),
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
    if judge := summary.judge.values:
        rows.append(("judge", judge, summary.judge.questions, SHARE))
    for name, values, of, bounds in rows:
        table.add_row(name, *in_cells(mean_over(values, of, bounds)), str(len(values)))
    for name, agreement in summary.judge_agreement().items() if judge else ():
        table.add_row(name, *in_cells(agreement), str(len(judge)))
    return table
