"""What trajectories are paid under reward variants, and what it costs to find out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import numpy as np

from igpo_gym.benchmark.cost import Cost, cost_of
from igpo_gym.benchmark.credit.labels import Label
from igpo_gym.benchmark.credit.trajectories import Trajectory
from igpo_gym.data.scores import scores
from igpo_gym.envs.engine import Engine
from igpo_gym.lm.policy import Policy
from igpo_gym.progress import Track, untracked
from igpo_gym.rewards import RewardFunction
from igpo_gym.rewards.relabel import Priced, relabel
from igpo_gym.rewards.split import Split, gains_of
from igpo_gym.scorers.interface import AnswerScorer
from igpo_gym.statistics import FloatArray
from igpo_gym.tools.opening import page_chars

VALUE_TURNS = 6
"""How many messages an episode may have that a policy completes, as in the environments."""

Trajectories: TypeAlias = Sequence[Trajectory]
Shapings: TypeAlias = dict[str, list[list[float | None]]]
"""By variant, for each trajectory of a group what its turns are paid, None for a turn that has no gain. Empty
where the scorer cannot read the group's prompt."""
Kept: TypeAlias = Callable[[Callable[[], Shapings]], Shapings]
"""Gives what the next group is paid: that which an earlier run has kept, or what the function makes of it."""


def made_anew(make: Callable[[], Shapings]) -> Shapings:
    """What ``make`` makes: nothing is kept."""
    return make()


@dataclass(frozen=True, slots=True)
class PaidTrajectory:
    """A trajectory and what a variant pays for it."""

    trajectory: Trajectory
    shaping: FloatArray
    """For each turn what it is paid beside the outcome and the format penalty, in the variant's own unit."""
    last_gain: bool = False
    """Whether the variant pays the last turn a gain."""
    counted: tuple[bool, ...] = ()
    """Of each turn whether it has a gain; all have one where this is empty."""

    @property
    def outcome(self) -> float:
        """The F1 of the answer."""
        return scores(self.trajectory.episode)["f1"]

    @property
    def split(self) -> Split:
        """Gains and outcome, as estimators take them."""
        paid = self.shaping.tolist()
        gains = [
            gain if counted else None
            for gain, counted in zip(paid, self.counted or (True,) * len(paid), strict=True)
        ]
        return Split(tuple(gains if self.last_gain else gains[:-1]), self.outcome, self.last_gain)

    def pays(self, *labels: Label) -> FloatArray:
        """What the turns with one of these labels are paid."""
        return self.shaping[[turn.label in labels for turn in self.trajectory.labels]]


Plays: TypeAlias = Sequence[PaidTrajectory]
"""The plays of one question under one variant."""


@dataclass(frozen=True, slots=True)
class Pricer:
    """Prices trajectories with one set of models."""

    engine: Engine
    """The rules that they were played by, with the corpus that they searched."""
    scorer: AnswerScorer | None
    """Holds the beliefs, and is the frozen reference too: nothing is trained here."""
    policy: Policy | None = None
    """For rewards that need one."""

    def price(
        self,
        groups: Sequence[Trajectories],
        functions: Sequence[RewardFunction],
        track: Track = untracked,
        what: str = "pricing",
        kept: Kept = made_anew,
    ) -> dict[str, list[list[PaidTrajectory]]]:
        """By variant the plays of each group of trajectories; a belief that several need is asked once.

        What a group is paid is ``kept``, or taken from what was kept. Groups whose prompt the scorer cannot
        read are left out.
        """
        plays: dict[str, list[list[PaidTrajectory]]] = {function.name: [] for function in functions}
        for group in track(groups, what, len(groups)) if functions else ():
            paid = kept(partial(self.shapings, group, functions))
            for function in functions if paid else ():
                plays[function.name].append(
                    [
                        PaidTrajectory(
                            each,
                            np.array([pay or 0.0 for pay in turns]),
                            function.last_gain,
                            tuple(pay is not None for pay in turns),
                        )
                        for each, turns in zip(group, paid[function.name], strict=True)
                    ]
                )
        return plays

    def shapings(self, group: Trajectories, functions: Sequence[RewardFunction]) -> Shapings:
        """What each variant pays the turns of each trajectory beside the outcome and the format penalty."""
        priced = list(self._relabel(group, functions))
        if not all(each.rewards for each in priced):
            return {}
        return {function.name: [_gains(function, each) for each in priced] for function in functions}

    def _relabel(self, trajectories: Trajectories, functions: Sequence[RewardFunction]) -> Iterator[Priced]:
        rules = replace(self.engine, rules=replace(self.engine.rules, max_turns=VALUE_TURNS))
        believes = any("scorer" in function.needs for function in functions)
        return relabel(
            (each.episode for each in trajectories),
            functions,
            self.scorer if believes else None,
            reference=self.scorer,
            corpus=self.engine.corpus,
            context={"engine": rules, "policy": self.policy, "questions": self.engine.questions},
            protocol=self.engine.protocol,
            limits=self.engine.rules.limits,
            page_chars=page_chars(self.engine.tools),
            partial=True,
        )

    def cost(self, groups: Sequence[Trajectories], function: RewardFunction) -> Cost:
        """What pricing these trajectories under one variant costs a turn, all of its beliefs included; nan
        where there are none."""
        turns = sum(len(each.episode.turns) for group in groups for each in group)
        if not turns:
            return Cost(math.nan, math.nan)
        return cost_of(self.scorer, partial(self.price, groups, [function]), turns)


def _gains(function: RewardFunction, priced: Priced) -> list[float | None]:
    """What each turn is paid beside the outcome and the format penalty; None where it has no gain."""
    return gains_of(priced.episode, function, shaping(function, priced.rewards[function.name]).tolist())


def shaping(function: RewardFunction, turns: Sequence[dict[str, float]]) -> FloatArray:
    """What each turn is paid beside the outcome and the format penalty."""
    return np.array([sum(terms[name] for name in function.gains) for terms in turns], dtype=np.float64)
