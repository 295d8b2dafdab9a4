"""The credit benchmark from beginning to end: play, price, measure."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from igpo_gym.agents.rollouts.costs import Meter
from igpo_gym.benchmark.cost import Cost
from igpo_gym.benchmark.credit.ledger import Ledger
from igpo_gym.benchmark.credit.measures import (
    MEASURES,
    CreditMeasure,
    hop_measures,
    label_measures,
    value_measure,
)
from igpo_gym.benchmark.credit.pricing import PaidTrajectory, made_anew
from igpo_gym.benchmark.credit.setup import FULL, GroupPricing, PolicyMaker, Setup, Size, prepared
from igpo_gym.benchmark.credit.trajectories import Trajectory
from igpo_gym.config import EnvConfig
from igpo_gym.errors import SpecError
from igpo_gym.progress import Track, untracked
from igpo_gym.rewards import RewardFunction
from igpo_gym.statistics import Estimate, estimate
from igpo_gym.storage import held

TURN_NUMBER = "turn number"
"""The content-free row: minus the number of the turn, which anyone can pay who reads nothing."""


@dataclass(frozen=True, slots=True)
class CreditResult:
    """Everything that the benchmark found."""

    settings: dict[str, Any]
    """What was asked for."""
    questions: list[list[Trajectory]]
    """For each question its trajectories."""
    too_long: tuple[str, ...]
    """The questions that are left out everywhere, since the scorer reads no prompt of such length."""
    plays: dict[str, list[list[PaidTrajectory]]]
    """By variant, what it pays for the trajectories of each question; ``TURN_NUMBER`` is the last."""
    measures: tuple[CreditMeasure, ...]
    estimates: dict[str, dict[str, Estimate]]
    """By measure and variant."""
    costs: dict[str, Cost]
    """By variant, from pricing the first question's trajectories again."""
    apart: dict[str, str]
    """The variants that take no part in comparisons, and why: they read the gold evidence, and so the labels,
    or nothing at all."""

    def measure(self, key: str) -> CreditMeasure:
        """The measure with this key."""
        return next(measure for measure in self.measures if measure.key == key)


def run_credit(
    config: EnvConfig,
    rewards: Sequence[str | RewardFunction] | None = None,
    size: Size = FULL,
    *,
    policy: PolicyMaker | None = None,
    seed: int = 0,
    track: Track = untracked,
    folder: Path | None = None,
    meter: Meter | None = None,
) -> CreditResult:
    """Measure how each of ``rewards`` pays the turns of the scripted agents' trajectories.

    The environment is that of ``config``, but for the reward, the turns (``MAX_TURNS``), the reference (it is
    the scorer) and the groups (their size is ``size``'s). By default these are all ``VARIANTS`` that can be
    had; ``TURN_NUMBER`` is measured beside them. With a ``policy`` they are also held against how much each
    turn truly raised its chance of a right answer; rewards that need a policy themselves are priced where
    that is measured.

    With a ``folder``, what is priced is kept there (see :class:`ledger.Ledger`), until whoever wrote the
    report says :func:`ledger.forget`. An ended run goes on from it, and the budget of a ``meter`` ends it
    between two groups.

    Questions whose prompt is longer than the scorer reads are left out and told.

    Raises SpecError for questions without gold evidence, for a reward that needs a policy without one, where
    the scorer reads no prompt, and for what else does not fit; ScoringError if a belief fails;
    BudgetSpentError.
    """
    setup = prepared(config, rewards, size, policy, seed)
    with ExitStack() as stack:
        if folder:
            stack.enter_context(held(folder))
        ledger = folder and stack.enter_context(Ledger(folder, setup, meter or Meter()))

        def plays_of(pricing: GroupPricing) -> dict[str, list[list[PaidTrajectory]]]:
            kept = partial(ledger.paid, pricing) if ledger else made_anew
            return pricing.pricer.price(pricing.groups, pricing.functions, track, pricing.what, kept)

        priced = plays_of(setup.cheap) | plays_of(setup.costly)
        changes = plays_of(setup.yardstick)
    too_long = _too_long(setup, priced)
    played = [group for group in setup.played if group[0].question not in too_long]
    if not played:
        raise SpecError(f"the scorer reads the prompt of none of the {len(too_long)} questions")
    plays = {
        function.name: [
            group for group in priced[function.name] if group[0].trajectory.question not in too_long
        ]
        for function in setup.functions
    }
    plays[TURN_NUMBER] = [[_by_turn_number(each) for each in group] for group in played]
    measures = [*MEASURES, *hop_measures(played), *label_measures()]
    measures += [value_measure([play for group in groups for play in group]) for groups in changes.values()]
    estimates = {
        measure.key: {name: measured(measure, groups) for name, groups in plays.items()}
        for measure in track(measures, "measuring", len(measures))
    }
    timed = [(function, each) for each in (setup.cheap, setup.costly) for function in each.functions]
    costs = {
        function.name: each.pricer.cost(
            [g for g in each.groups if g[0].question not in too_long][:1], function
        )
        for function, each in track(timed, "timing", len(timed))
    } | {TURN_NUMBER: Cost(0.0, 0.0)}
    apart = {each.name: "reads the gold evidence" for each in setup.functions if "evidence" in each.needs}
    apart[TURN_NUMBER] = "reads nothing"
    return CreditResult(setup.settings, played, too_long, plays, tuple(measures), estimates, costs, apart)


def _too_long(setup: Setup, plays: dict[str, list[list[PaidTrajectory]]]) -> tuple[str, ...]:
    """The questions that nothing could be priced of."""
    found: dict[str, None] = {}
    for pricing in (setup.cheap, setup.costly):
        for function in pricing.functions[:1]:  # what one cannot read, all that are priced with it do not
            read = {group[0].trajectory.question for group in plays[function.name]}
            found |= dict.fromkeys(g[0].question for g in pricing.groups if g[0].question not in read)
    return tuple(found)


def _by_turn_number(trajectory: Trajectory) -> PaidTrajectory:
    return PaidTrajectory(trajectory, -np.arange(1.0, len(trajectory.labels) + 1))


def measured(measure: CreditMeasure, groups: Sequence[Sequence[PaidTrajectory]]) -> Estimate:
    """The measure of one variant; questions that have nothing to say to it are left out."""
    samples = [measure.sample(plays) for plays in groups]
    telling = [sample for sample in samples if any(len(column) for column in sample)]
    return estimate(telling, measure.statistic, measure.bounds)
