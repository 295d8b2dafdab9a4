"""The credit benchmark from beginning to end: play, price, measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from igpo_gym.benchmark.credit.measures import (
    MEASURES,
    CreditMeasure,
    hop_measures,
    label_measures,
    value_measure,
)
from igpo_gym.benchmark.credit.pricing import Cost, Play, Pricer, Track, untracked
from igpo_gym.benchmark.credit.trajectories import (
    CONTROL,
    MAX_TURNS,
    Trajectory,
    play_cast,
)
from igpo_gym.config import EnvConfig, shown
from igpo_gym.envs.setup import assemble
from igpo_gym.errors import SpecError
from igpo_gym.lm.policy import Policy
from igpo_gym.rewards import RewardFunction, resolve_reward
from igpo_gym.scorers import resolve_scorer
from igpo_gym.statistics import Estimate, estimate

VARIANTS = (
    "outcome-f1",
    "igpo",
    "igpo(context=evidence)",
    "igpo-logprob",
    "igpo-logprob(context=evidence)",
    "watermark",
    "potential",
    "tips",
    "ig-search",
    "redundancy",
    "evidence-recall",
    "monte-carlo",
)
"""What is compared unless it is said otherwise."""

NOT_CONFIGURED = (
    *("reward", "reference", "policy", "max_turns", "group_size"),
    *("order", "info", "oracle_info", "render_mode", "search_cache"),
)
"""The arguments of an environment that the benchmark decides itself, or that change nothing in it."""

TURN_NUMBER = "turn number"
"""The content-free row: minus the number of the turn, which anyone can pay who reads nothing."""

VALUE_AGENTS = frozenset({"noisy", CONTROL})
"""On whose trajectories a policy is asked for values, which is costly. None of them hacks: a policy that
reads a leaked answer does better for it."""

PolicyMaker: TypeAlias = Callable[[int], Policy]
"""From a seed to a policy whose draws are independent of those of other seeds."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    count: int = 60
    """How many questions."""
    group_size: int = 4
    """Rollouts of a group, one group a question."""
    value_questions: int = 12
    """On how many of the questions a policy is asked for values."""
    completions: int = 8
    """How often it completes the episode for a value of the yardstick."""


FULL, QUICK = Size(), Size(count=8, value_questions=2, completions=4)


@dataclass(frozen=True, slots=True)
class CreditResult:
    """Everything that the benchmark found."""

    settings: dict[str, Any]
    """What was asked for."""
    questions: list[list[Trajectory]]
    """For each question its trajectories."""
    plays: dict[str, list[list[Play]]]
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
) -> CreditResult:
    """CreditMeasure how each of ``rewards`` pays the turns of the scripted agents' trajectories.

    The environment is that of ``config``, but for the reward, the turns (``MAX_TURNS``), the reference (it is
    the scorer) and the groups (their size is ``size``'s). By default these are all ``VARIANTS`` that can be
    had; ``TURN_NUMBER`` is measured beside them. With a ``policy`` they are also held against how much each
    turn truly raised its chance of a right answer; rewards that need a policy themselves are priced where
    that is measured.

    Raises SpecError for questions without gold evidence, for a reward that needs a policy without one, and
    for what else does not fit; ScoringError if a belief fails.
    """
    functions = [resolve_reward(reward) for reward in (VARIANTS if rewards is None else rewards)]
    if rewards is None and policy is None:
        functions = [function for function in functions if "policy" not in function.needs]
    cheap = [function for function in functions if "policy" not in function.needs]
    costly = [function for function in functions if "policy" in function.needs]
    if costly and policy is None:
        raise SpecError(f"reward {costly[0].name!r} needs a policy that completes the episodes: give policy=")
    task = replace(config, scorer=None, reward="outcome-f1", max_turns=MAX_TURNS, policy=None, group_size=1)
    question_set, engine = assemble(task)
    played = play_cast(engine, question_set, size.count, size.group_size, seed)
    pricer = Pricer(engine, resolve_scorer(config.scorer), policy and policy(seed))
    valued = [
        [each for each in group if each.agent in VALUE_AGENTS] for group in played[: size.value_questions]
    ]

    priced = pricer.price(played, cheap, track) | pricer.price(valued, costly, track, "completing")
    plays = {function.name: priced[function.name] for function in functions}
    plays[TURN_NUMBER] = [[_by_turn_number(each) for each in group] for group in played]
    measures = [*MEASURES, *hop_measures(played), *label_measures()]
    if policy is not None:
        yardstick = resolve_reward(f"value-gain(completions={size.completions})")
        pricer = replace(pricer, policy=policy(seed + 1))  # no variant is to be judged by its own luck
        changes = pricer.price(valued, [yardstick], track, "completing")[yardstick.name]
        measures.append(value_measure([play for group in changes for play in group]))
    estimates = {
        measure.key: {name: measured(measure, groups) for name, groups in plays.items()}
        for measure in track(measures, "measuring", len(measures))
    }
    costs = {
        function.name: pricer.cost((valued if function in costly else played)[:1], function)
        for function in track([*cheap, *costly], "timing", len(cheap) + len(costly))
    } | {TURN_NUMBER: Cost(0.0, 0.0)}
    settings = {
        **{name: _told(value) for name, value in shown(config).items() if name not in NOT_CONFIGURED},
        "questions": question_set.name,
        "seed": seed,
        "yardstick": "none" if policy is None else "the policy's completions",
        **asdict(size),
    }
    apart = {each.name: "reads the gold evidence" for each in functions if "evidence" in each.needs}
    apart[TURN_NUMBER] = "reads nothing"
    return CreditResult(settings, played, plays, tuple(measures), estimates, costs, apart)


def _told(value: Any) -> Any:
    """A setting for reports: an object by its name, or by that of its class."""
    if value is None or isinstance(value, str | int | float):
        return value
    return getattr(value, "name", type(value).__name__)


def _by_turn_number(trajectory: Trajectory) -> Play:
    return Play(trajectory, -np.arange(1.0, len(trajectory.labels) + 1))


def measured(measure: CreditMeasure, groups: Sequence[Sequence[Play]]) -> Estimate:
    """The measure of one variant; questions that have nothing to say to it are left out."""
    samples = [measure.sample(plays) for plays in groups]
    telling = [sample for sample in samples if any(len(column) for column in sample)]
    return estimate(telling, measure.statistic, measure.bounds)
