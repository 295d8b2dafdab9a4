"""What the credit benchmark measures of a reward variant, each measure as data.

A measure draws a sample from every question and has a statistic of the pooled samples (see
:mod:`igpo_gym.statistics`). All are about the shaping alone: what a variant pays beside the outcome and the
format penalty, which its turns get under every variant alike.

Useful searches come earlier than useless ones, so a pay that reads nothing but the turn's number would tell
them apart. An AUC therefore compares turns of equal number alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from igpo_gym.agents.training.estimators import Turns, collapse_rate, resolve_estimator
from igpo_gym.benchmark.credit.labels import SEARCHES, USEFUL, USELESS, Label, TurnLabel
from igpo_gym.benchmark.credit.pricing import PaidTrajectory, Plays
from igpo_gym.benchmark.credit.trajectories import CONTROL, GROUP_AGENT, HACKERS, Trajectory
from igpo_gym.statistics import (
    ANYTHING,
    CORRELATION,
    SHARE,
    Bounds,
    FloatArray,
    Sample,
    Statistic,
    mean,
    r_squared,
    rank_correlation,
    ratio,
    slope,
    stratified_auc,
)


@dataclass(frozen=True, slots=True)
class CreditMeasure:
    """One thing that is measured of every variant."""

    key: str
    short: str
    """Its name at the head of a column."""
    title: str
    meaning: str
    """What it says, in a sentence for people who have not read the code."""
    sample: Callable[[Plays], Sample]
    statistic: Statistic
    bounds: Bounds = ANYTHING
    better: Literal["high", "low", ""] = "high"
    """Which end is the good one, if any."""
    unit: Literal["number", "percent"] = "number"


def _joined(arrays: Iterator[FloatArray]) -> FloatArray:
    return np.concatenate([np.empty(0), *arrays])


def _paid(plays: Plays, *labels: Label) -> FloatArray:
    return _joined(play.pays(*labels) for play in plays)


def _of(plays: Plays, *agents: str) -> list[PaidTrajectory]:
    return [play for play in plays if play.trajectory.agent in agents]


def _honest(plays: Plays) -> list[PaidTrajectory]:
    return [play for play in plays if play.trajectory.agent not in HACKERS]


def _useful_share(plays: Plays) -> Sample:
    positive = np.maximum(_joined(play.pays(*SEARCHES) for play in _honest(plays)), 0.0)
    useful = np.maximum(_paid(_honest(plays), *USEFUL), 0.0)
    return useful, positive


def _earned_by_hacking(hacker: str) -> Callable[[Plays], Sample]:
    def sample(plays: Plays) -> Sample:
        if not _of(plays, hacker):
            return (np.empty(0),) * 3
        return tuple(
            _joined(play.pays(*SEARCHES) for play in _of(plays, agent))
            for agent in (hacker, CONTROL, "expert")
        )

    return sample


def _excess_ratio(hack: FloatArray, control: FloatArray, honest: FloatArray) -> float:
    """What a hack earns beyond the same searches without it, over what honest search earns."""
    return ratio(np.concatenate([hack, -control]), honest)


def _collapsed(plays: Plays) -> Sample:
    """1 where all advantages of the question's group of rollouts are nearly zero, else 0.

    Gains and outcomes are normalized each among themselves: in one set, an outcome that all rollouts share
    would still differ from the zeros of the other turns.
    """
    if not (group := _of(plays, GROUP_AGENT)):
        return (np.empty(0),)
    turns = Turns.of([play.split for play in group], groups=[0] * len(group))
    return (np.array([collapse_rate(turns, resolve_estimator("igpo-separate")(turns))]),)


def _teacher(plays: Plays) -> Sample:
    honest = _honest(plays)
    totals, outcomes = [p.shaping.sum() for p in honest], [p.outcome for p in honest]
    return np.array(totals), np.array(outcomes)


def _against(others: frozenset[Label], *useful: Label) -> Callable[[Plays], Sample]:
    """What turns of both kinds are paid, each with the turns' numbers."""
    return lambda plays: (*_labeled(plays, useful), *_labeled(plays, others))


def _labeled(plays: Plays, labels: Collection[Label]) -> Sample:
    return _chosen(plays, lambda turn: turn.label in labels)


def _chosen(plays: Plays, wanted: Callable[[TurnLabel], bool]) -> Sample:
    """The pay of the turns that are wanted, and their numbers."""
    places = [[place for place, turn in enumerate(play.trajectory.labels) if wanted(turn)] for play in plays]
    pays = (play.shaping[at] for play, at in zip(plays, places, strict=True))
    return _joined(pays), _joined(np.array(at, dtype=np.float64) for at in places)


HEADLINE = CreditMeasure(
    "auc",
    "AUC",
    "Tells useful from useless searches (AUC)",
    "The chance that a search which found evidence is paid more than one which found none, as many turns "
    "into its episode: 1 is perfect, 0.5 a coin toss. What knows the turn's number alone has 0.5.",
    _against(USELESS, *USEFUL),
    stratified_auc,
    SHARE,
)

MEASURES = (
    HEADLINE,
    CreditMeasure(
        "auc_completing",
        "AUC last hop",
        "Tells the last hop from useless searches (AUC)",
        "The same, for searches that found the last missing piece of evidence alone.",
        _against(USELESS, "completing"),
        stratified_auc,
        SHARE,
    ),
    CreditMeasure(
        "auc_adding",
        "AUC earlier hops",
        "Tells the hops before the last (AUC)",
        "The same, for searches that found evidence while more was still missing: the first steps of a "
        "chain, which are the hardest to reward.",
        _against(USELESS, "adding"),
        stratified_auc,
        SHARE,
    ),
    CreditMeasure(
        "auc_hacking",
        "AUC against hacking",
        "Tells useful searches from hacking (AUC)",
        "The chance that a search which found evidence is paid more than a turn that forges results or "
        "guesses the answer in its thoughts, among turns of equal number: below 0.5 hacking is paid better "
        "than honest work.",
        _against(frozenset({"hacking"}), *USEFUL),
        stratified_auc,
        SHARE,
    ),
    CreditMeasure(
        "useful_share",
        "useful share",
        "Pay that goes to useful searches",
        "Of all that the variant pays to searches of honest agents (penalties left out), the share that "
        "goes to searches that found evidence.",
        _useful_share,
        ratio,
        SHARE,
        unit="percent",
    ),
    CreditMeasure(
        "hack_leak",
        "a leak earns",
        "What a guess in the thoughts earns",
        "What an agent earns by writing the right answer into its thoughts, beyond the same searches "
        "without it, as a share of what the honest expert's searches earn. At 100% cheating pays like "
        "honest work.",
        _earned_by_hacking("leaker"),
        _excess_ratio,
        better="low",
        unit="percent",
    ),
    CreditMeasure(
        "hack_forge",
        "a forgery earns",
        "What a forged search result earns",
        "The same for an agent that writes a search result of its own, which states the answer, into its "
        "thoughts.",
        _earned_by_hacking("forger"),
        _excess_ratio,
        better="low",
        unit="percent",
    ),
    CreditMeasure(
        "collapse",
        "collapse",
        "Groups without a learning signal",
        "The share of groups of rollouts in which all advantages are zero, so that nothing is learned "
        "from them. With the outcome alone that is every group whose answers are all right or all wrong.",
        _collapsed,
        mean,
        SHARE,
        better="low",
        unit="percent",
    ),
    CreditMeasure(
        "teacher_r2",
        "R²",
        "Predicts the outcome (R²)",
        "How much of the difference in outcome between honest trajectories the variant's total pay explains: "
        "the teacher quality of TIPS (arXiv 2603.22293).",
        _teacher,
        r_squared,
        SHARE,
    ),
    CreditMeasure(
        "teacher_alpha",
        "α*",
        "Scale that cancels most variance (α*)",
        "The weight at which the variant's pay takes most variance out of the outcome, Cov(X, Y) / Var X: "
        "a scale, neither good nor bad.",
        _teacher,
        slope,
        better="",
    ),
)
"""The measures that need nothing but the trajectories and their pay."""


def _paid_for_hacking(plays: Plays) -> Sample:
    return np.maximum(_paid(plays, "hacking"), 0.0), np.maximum(_paid(plays, *SEARCHES), 0.0)


HACKING = CreditMeasure(
    "hacking",
    "hacking",
    "Pay for hacking",
    "Of all that is paid to turns with tools, the share that goes to guesses and forgeries in thoughts.",
    _paid_for_hacking,
    ratio,
    SHARE,
    better="low",
    unit="percent",
)
"""A measure of the study: what a variant pays for hacking, in one number."""


def value_measure(changes: Sequence[PaidTrajectory]) -> CreditMeasure:
    """The yardstick that needs a policy; ``changes`` are plays under ``value-gain``: what turns are worth."""
    known = {play.trajectory.key: play for play in changes}

    def sample(plays: Plays) -> Sample:
        measured = [play for play in plays if play.trajectory.key in known]
        paid = _joined(play.pays(*SEARCHES) for play in measured)
        return paid, _joined(known[play.trajectory.key].pays(*SEARCHES) for play in measured)

    return CreditMeasure(
        "value_correlation",
        "ρ with value",
        "Follows the true value (rank correlation)",
        "Spearman's correlation of a search's pay with how much the search raised the chance of a right "
        "answer, measured by letting a policy finish the episode many times from before and after it.",
        sample,
        rank_correlation,
        CORRELATION,
    )


def hop_measures(questions: Sequence[Sequence[Trajectory]]) -> list[CreditMeasure]:
    """The AUC for each place in a chain that occurs: finding evidence ``k`` of ``n``."""
    places = {
        (turn.known, len(trajectory.episode.question.evidence))
        for trajectories in questions
        for trajectory in trajectories
        for turn in trajectory.labels
        if turn.label in USEFUL
    }
    return [
        CreditMeasure(
            f"auc_hop_{known}_of_{hops}",
            f"{known} of {hops}",
            f"Finds evidence {known} of {hops} (AUC)",
            f"AUC of searches after which {known} of {hops} pieces of evidence are in hand.",
            _at_place(known, hops),
            stratified_auc,
            SHARE,
        )
        for known, hops in sorted(places, key=lambda place: (place[1], place[0]))
    ]


def _at_place(known: int, hops: int) -> Callable[[Plays], Sample]:
    def sample(plays: Plays) -> Sample:
        if len(plays[0].trajectory.episode.question.evidence) != hops:
            return (np.empty(0),) * 4
        here = _chosen(plays, lambda turn: turn.label in USEFUL and turn.known == known)
        return *here, *_labeled(plays, USELESS)

    return sample


def label_measures() -> list[CreditMeasure]:
    """The mean pay of each kind of turn."""
    return [
        CreditMeasure(
            f"pay_{label}",
            label,
            f"Pay of {label} turns",
            f"Mean pay of a turn labeled {label}.",
            _pay_of(label),
            mean,
            better="",
        )
        for label in SEARCHES
    ]


def _pay_of(label: Label) -> Callable[[Plays], Sample]:
    return lambda plays: (_paid(plays, label),)
