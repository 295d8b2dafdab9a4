"""``igpo-gym bench``: benchmarks of reward shaping, each with a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from igpo_gym.cli.common import BudgetText, EstimateOnly, progress, tell_estimate, tell_report, tell_view
from igpo_gym.cli.options import configured
from igpo_gym.config import EnvConfig


@configured(
    EnvConfig,
    without=("reward", "reference", "policy", "max_turns", "order"),
    questions="world:test",
    group_size=4,
)
def credit(
    config: EnvConfig,
    out: Annotated[Path, typer.Option(help="The folder for report.html and the figures as CSV and JSON.")],
    reward: Annotated[
        list[str] | None,
        typer.Option(help="A reward to compare, see [b]igpo-gym rewards[/b]; repeat it. By default all."),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="The policy that completes episodes, for the true value of turns, given as [b]--agent[/b] "
            "of rollout; [b]none[/b] leaves that out. By default nano where it is the scorer."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=2, help="How many questions are played; 60, or 8 with --quick.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A small run: a minute or two instead of many.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seeds the agents and the policy.")] = 0,
    budget: BudgetText = None,
    estimate: EstimateOnly = False,
) -> None:
    """Which reward pays the right turns? Compare variants where the useful turns are known.

    Scripted agents play questions whose gold evidence is known; every variant prices the same turns, and is
    held against what an oracle says of them. The same command goes on where it was stopped.

    Examples:

      igpo-gym bench credit --quick --out credit

      igpo-gym bench credit --reward igpo --reward "igpo + 0.1*evidence-recall" --out mine

      igpo-gym bench credit --questions hotpotqa:dev.jsonl --scorer ./SmolLM2 --limit 50 --out hotpotqa
    """
    from dataclasses import replace

    from igpo_gym.agents.rollouts.costs import Budget, Meter
    from igpo_gym.benchmark.credit.files import credit_files
    from igpo_gym.benchmark.credit.ledger import forget, priced_groups
    from igpo_gym.benchmark.credit.page import cost_table, findings, overview
    from igpo_gym.benchmark.credit.recordings import RECORDS, REWARDS, mispriced_files
    from igpo_gym.benchmark.credit.run import run_credit
    from igpo_gym.benchmark.credit.setup import FULL, QUICK, policy_maker, prepared
    from igpo_gym.benchmark.report import require_extra, write_files
    from igpo_gym.storage import check_writable

    meter = Meter(Budget.parse(budget))
    require_extra()
    check_writable(out, folder=True)
    size = replace(QUICK if quick else FULL, group_size=config.group_size)
    chosen = "nano" if policy is None and config.scorer == "nano" else policy
    size = size if limit is None else replace(size, count=limit)
    maker = None if chosen in (None, "none") else policy_maker(chosen, config)
    if estimate:
        setup = prepared(config, reward, size, maker, seed)
        tell_estimate(setup.works(priced_groups(out, setup)))
        return
    result = run_credit(
        config, reward, size, policy=maker, seed=seed, track=progress, folder=out, meter=meter
    )
    write_files(out, credit_files(result) | mispriced_files(result, config.scorer))
    forget(out)
    tell_report((*overview(result), cost_table(result)), findings(result), out)
    tell_view(out / RECORDS, out / REWARDS)
