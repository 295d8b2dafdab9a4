"""The study's hypotheses as data, their tests in the order that was fixed before, and what each comes to.

All tests are exact two-sample permutation tests over runs, two-sided at 0.05, in one chain: the first that
does not hold ends it, and what follows has an interval and no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from igpo_gym.benchmark.study.measures import apart
from igpo_gym.benchmark.study.records import StudyRun
from igpo_gym.benchmark.study.rows import ARMS, planned_seeds
from igpo_gym.benchmark.training.measures import along_tokens, final
from igpo_gym.statistics import FEWEST, LEVEL, Estimate, FloatArray, permutation

WAYS = 200_000
"""The ways to exchange the runs of two arms of ten seeds are 184,756: all are gone through."""

Runs = Mapping[str, Sequence[StudyRun]]
"""The finished runs of each arm, by seed."""
Samples = tuple[list[float], list[float]]
"""What is compared: a number for each run, or each pair of runs, of the one side and of the other."""


def by_arm(runs: Sequence[StudyRun]) -> dict[str, list[StudyRun]]:
    """The runs of the parts behind the first, of each arm, by seed."""
    found: dict[str, list[StudyRun]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        if run.part > 1:
            found.setdefault(run.arm, []).append(run)
    return found


def ends(runs: Sequence[StudyRun]) -> list[float]:
    """Validation F1 after the last update."""
    return [final(run.outcome) for run in runs]


def areas(ours: Sequence[StudyRun], theirs: Sequence[StudyRun]) -> Samples:
    """The mean of validation F1 over the tokens that were sampled, up to the fewest that a run has."""
    most = min((run.outcome.curve[-1]["tokens"] for run in (*ours, *theirs)), default=0.0)
    return [along_tokens(r.outcome, most) for r in ours], [along_tokens(r.outcome, most) for r in theirs]


def leads(runs: Runs, start: str) -> list[float]:
    """How far igpo is ahead of GRPO at the end, seed by seed, from a model."""
    ours, theirs = (
        {run.seed: final(run.outcome) for run in runs.get(f"{arm}-{start}", ())} for arm in ("igpo", "grpo")
    )
    return [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]


def _arms(ours: str, theirs: str) -> Callable[[Runs], Samples]:
    return lambda runs: (ends(runs.get(ours, ())), ends(runs.get(theirs, ())))


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """That the first sample is greater."""

    name: str
    claim: str
    """What holds if it is."""
    samples: Callable[[Runs], Samples]
    arms: tuple[str, ...]
    """Whose runs it needs."""


CHAIN = (
    Hypothesis(
        "H1", "igpo ends with a higher F1 than outcome-only GRPO", _arms("igpo", "grpo"), ("igpo", "grpo")
    ),
    Hypothesis(
        "H2",
        "igpo has a higher F1 over the tokens that were sampled than outcome-only GRPO",
        lambda runs: areas(runs.get("igpo", ()), runs.get("grpo", ())),
        ("igpo", "grpo"),
    ),
    Hypothesis(
        "H4a",
        "igpo ends higher than GRPO with noise where its outcomes do not differ",
        _arms("igpo", "noise"),
        ("igpo", "noise"),
    ),
    Hypothesis(
        "H4b",
        "at three hops igpo ends higher than with its gains at other turns",
        _arms("igpo-3", "permuted-3"),
        ("igpo-3", "permuted-3"),
    ),
    Hypothesis(
        "H4c",
        "igpo ends higher than with the last gain before the answer alone",
        _arms("igpo", "last-gain"),
        ("igpo", "last-gain"),
    ),
    Hypothesis(
        "H3",
        "the lead of igpo over GRPO is greater from 5% success than from 35%",
        lambda runs: (leads(runs, "start-05"), leads(runs, "start-35")),
        ("igpo-start-05", "grpo-start-05", "igpo-start-35", "grpo-start-35"),
    ),
    Hypothesis(
        "H5",
        "igpo ends higher with the policy's own belief than with that of the frozen start",
        _arms("igpo", "frozen"),
        ("igpo", "frozen"),
    ),
)
"""In their order."""


class Verdict(StrEnum):
    """What a test comes to."""

    HOLDS = "holds"
    CONTRADICTED = "contradicted"
    """Told apart, the other way round."""
    OPEN = "not told apart"
    ENDED = "no verdict: the chain has ended before"
    FEW = "no verdict: too few runs"
    UNDEFINED = "no verdict: the figure is not defined of all runs"


@dataclass(frozen=True, slots=True)
class Finding:
    """A hypothesis with what its test came to."""

    hypothesis: Hypothesis
    seeds: tuple[int, int]
    planned: bool
    """Whether all runs that were planned are there."""
    ahead: Estimate
    p: float
    """nan where nothing is tested."""
    verdict: Verdict


def findings(runs: Sequence[StudyRun]) -> list[Finding]:
    """All tests in their order; the first that does not hold ends the chain."""
    arms, counts, goes_on = by_arm(runs), planned_seeds(), True
    found = []
    for hypothesis in CHAIN:
        ours, theirs = hypothesis.samples(arms)
        ahead = lead(ours, theirs)
        p = permutation(ours, theirs, WAYS) if goes_on else math.nan
        verdict = _verdict(goes_on, min(len(ours), len(theirs)), ahead.value, p)
        goes_on = verdict is Verdict.HOLDS
        planned = all(len(arms.get(name, ())) == counts[name] for name in hypothesis.arms)
        found.append(Finding(hypothesis, (len(ours), len(theirs)), planned, ahead, p, verdict))
    return found


def _verdict(goes_on: bool, fewest: int, value: float, p: float) -> Verdict:
    if not goes_on:
        return Verdict.ENDED
    if fewest < FEWEST:
        return Verdict.FEW
    if math.isnan(p):
        return Verdict.UNDEFINED
    if p > LEVEL:
        return Verdict.OPEN
    return Verdict.HOLDS if value > 0 else Verdict.CONTRADICTED


def lead(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """How much greater the one mean is than the other, with its interval."""
    if not ours or not theirs:
        return Estimate(math.nan, math.nan, math.nan, 0)
    return apart(np.array(ours)[:, None], np.array(theirs)[:, None])


@dataclass(frozen=True, slots=True)
class PlaceboFinding:
    """What the placebo comes to: leads over GRPO at the end."""

    placebo: Estimate
    igpo: Estimate
    noise: Estimate
    """Of control (a): a lead that the placebo shares with it says collapse, not information."""

    @property
    def vanished(self) -> bool:
        """Whether the lead is said to have vanished: its upper end lies below half of igpo's lead.

        Where igpo has no lead that its interval tells from 0, there is none to vanish.
        """
        return self.leads and self.placebo.high < self.igpo.value / 2  # False where either is nan

    @property
    def leads(self) -> bool:
        """Whether igpo itself is ahead, by its interval."""
        return self.igpo.low > 0


def placebo(runs: Sequence[StudyRun]) -> PlaceboFinding:
    """The leads of the placebo, of igpo and of the noise over GRPO."""
    arms = by_arm(runs)
    grpo = ends(arms.get("grpo", ()))
    return PlaceboFinding(*(lead(ends(arms.get(name, ())), grpo) for name in ("placebo", "igpo", "noise")))


def by_hops(runs: Sequence[StudyRun]) -> FloatArray:
    """F1 at the end for each number of hops, [runs, numbers of hops]."""
    names = sorted(name for name in runs[0].outcome.curve[-1] if name.startswith("validation_f1_hops_"))
    return np.array([[run.outcome.curve[-1][name] for name in names] for run in runs])


def world_of(arm: str) -> str:
    """What an arm is trained on: arms of one world can be compared."""
    return "three hops" if dict(ARMS[arm].changed).get("questions") else "one to four hops"
