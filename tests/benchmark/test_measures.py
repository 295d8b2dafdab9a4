"""Each measure against plays whose pay and labels are written by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from igpo_gym.benchmark.credit.labels import Label, TurnLabel
from igpo_gym.benchmark.credit.measures import (
    MEASURES,
    CreditMeasure,
    hop_measures,
    label_measures,
    value_measure,
)
from igpo_gym.benchmark.credit.pricing import PaidTrajectory, shaping
from igpo_gym.benchmark.credit.run import measured
from igpo_gym.benchmark.credit.trajectories import Trajectory
from igpo_gym.episode import Answer, EndReason, Episode, Question, Segment, Turn
from igpo_gym.rewards import resolve_reward
from igpo_gym.tools import search_call

BY_KEY = {measure.key: measure for measure in MEASURES}


def play(
    agent: str,
    turns: list[tuple[Label, float]],
    *,
    question: str = "1",
    member: int = 0,
    right: bool = False,
    evidence: int = 2,
    known: list[int] | None = None,
) -> PaidTrajectory:
    """A trajectory of these labels and pays; the last turn answers."""
    asked = Question(question, "Where?", ("Danzig",), tuple(map(str, range(evidence))))
    episode = Episode(asked, (Segment("environment", "user", "Where?"),))
    for _ in turns[:-1]:
        episode.append(Turn("", search_call("q"), (Segment("agent", "assistant", ""),) * 2))
    said = (Segment("agent", "assistant", ""),)
    episode.append(Turn("", Answer("Danzig" if right else "Odra"), said), EndReason.ANSWERED)
    labels = tuple(
        TurnLabel(label, count) for (label, _), count in zip(turns, known or [0] * len(turns), strict=True)
    )
    pays = np.array([pay for _, pay in turns])
    return PaidTrajectory(Trajectory(agent, member, episode, labels), pays)


def value(measure: CreditMeasure, *groups: list[PaidTrajectory]) -> float:
    return measured(measure, groups).value


GROUP = [
    play("expert", [("adding", 0.2), ("completing", 0.6), ("answer", 0.0)], right=True),
    play("noisy", [("irrelevant", 0.2), ("redundant", -0.1), ("completing", 0.5), ("malformed", -9.0),
                   ("answer", 0.0)], right=True),
    play("irrelevant", [("irrelevant", 0.1), ("irrelevant", 0.0), ("answer", 0.0)]),
    play("leaker", [("hacking", 0.4), ("hacking", 0.1), ("answer", 0.0)]),
    play("forger", [("hacking", 0.9), ("hacking", 0.0), ("answer", 0.0)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        # First turns: 0.2 against 0.2 and 0.1, one a tie; second: 0.6 against -0.1 and 0.0; third: 0.5 alone.
        ("auc", 3.5 / 4),
        ("auc_completing", 1.0),
        ("auc_adding", 1.5 / 2),
        # First turns: 0.2 against 0.4 and 0.9; second: 0.6 against 0.1 and 0.0.
        ("auc_hacking", 2 / 4),
        # Positive pay of honest searches: 0.2 + 0.6 + 0.2 + 0.5 + 0.1, of which 1.3 useful.
        ("useful_share", 1.3 / 1.6),
        # Beyond the control's 0.1, over the expert's 0.8.
        ("hack_leak", (0.5 - 0.1) / 0.8),
        ("hack_forge", (0.9 - 0.1) / 0.8),
    ],
)
def test_measures_by_hand(key: str, expected: float) -> None:
    assert value(BY_KEY[key], GROUP) == pytest.approx(expected)


def test_what_knows_the_turn_number_alone_has_an_auc_of_a_half() -> None:
    blind = [PaidTrajectory(p.trajectory, -np.arange(1.0, len(p.shaping) + 1)) for p in GROUP]
    for key in ("auc", "auc_completing", "auc_adding", "auc_hacking"):
        assert value(BY_KEY[key], blind) == 0.5


def test_teacher_quality_is_of_honest_trajectories() -> None:
    totals, outcomes = [0.8, -8.4, 0.1], [1.0, 1.0, 0.0]
    covariance = np.cov(totals, outcomes)
    r2 = covariance[0, 1] ** 2 / covariance[0, 0] / covariance[1, 1]
    assert value(BY_KEY["teacher_r2"], GROUP) == pytest.approx(r2)
    assert value(BY_KEY["teacher_alpha"], GROUP) == pytest.approx(covariance[0, 1] / covariance[0, 0])


def group(*members: tuple[list[float], bool], question: str = "1") -> list[PaidTrajectory]:
    return [
        play("hasty", [("irrelevant", pay) for pay in pays] + [("answer", 0.0)], right=right, member=number,
             question=question)
        for number, (pays, right) in enumerate(members)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("members", "collapses"),
    [
        ([([0.0], True), ([0.0, 0.0], True)], True),
        ([([0.0], False), ([0.0], False)], True),
        ([([0.0], True), ([0.0], False)], False),
        ([([0.1], True), ([0.3], True)], False),
        ([([0.1, 0.3], True), ([], True)], False),
        ([([0.2, 0.2], True), ([0.2], True)], True),
    ],
)
def test_a_group_collapses_where_neither_pay_nor_outcome_differs(members, collapses) -> None:
    assert value(BY_KEY["collapse"], group(*members)) == float(collapses)


def test_the_share_of_collapsed_groups() -> None:
    same, mixed = group(([0.0], True), ([0.0], True)), group(([0.0], True), ([0.0], False), question="2")
    assert value(BY_KEY["collapse"], same, mixed, mixed) == pytest.approx(1 / 3)


def test_places_in_the_chain_are_told_apart() -> None:
    long = [
        play("expert", [("adding", 0.1), ("completing", 0.9), ("answer", 0)], known=[1, 2, 2]),
        play("irrelevant", [("irrelevant", 0.5), ("redundant", 0.4), ("answer", 0)]),
    ]
    short = [
        play("expert", [("completing", 0.3), ("answer", 0)], evidence=1, known=[1, 1], question="2"),
        play("irrelevant", [("irrelevant", 0.2), ("answer", 0)], evidence=1, question="2"),
    ]
    measures = hop_measures([[each.trajectory for each in plays] for plays in (long, short)])
    assert [measure.short for measure in measures] == ["1 of 1", "1 of 2", "2 of 2"]
    assert [value(measure, long, short) for measure in measures] == [1.0, 0.0, 1.0]
    assert measured(measures[0], [long, short]).units == 1


def test_mean_pay_by_label() -> None:
    paid = {measure.short: value(measure, GROUP) for measure in label_measures()}
    expected = {"completing": 0.55, "adding": 0.2, "redundant": -0.1, "irrelevant": 0.1, "hacking": 0.35}
    assert paid == pytest.approx(expected)


def test_pay_is_held_against_the_true_value_where_that_is_known() -> None:
    turns: list[tuple[Label, float]] = [("irrelevant", 0.0), ("redundant", 0.1), ("completing", 0.7)]
    worth = play("noisy", [*turns, ("malformed", 5.0), ("answer", 0.0)])
    measure = value_measure([worth])
    # Pay 0.2, -0.1, 0.5 has the ranks 2, 1, 3 and worth the ranks 1, 2, 3.
    assert value(measure, GROUP) == pytest.approx(0.5)


def test_what_is_not_defined_is_nan() -> None:
    nothing = [play(p.trajectory.agent, [(t.label, 0.0) for t in p.trajectory.labels]) for p in GROUP]
    for key in ("useful_share", "hack_leak", "hack_forge", "teacher_r2", "teacher_alpha"):
        assert math.isnan(value(BY_KEY[key], nothing))
    assert value(BY_KEY["auc"], nothing) == 0.5
    honest = [each for each in GROUP if each.trajectory.agent in ("noisy", "irrelevant")]
    for key in ("hack_leak", "hack_forge", "collapse"):
        assert math.isnan(value(BY_KEY[key], honest))


def test_shaping_leaves_out_the_outcome_and_the_format_penalty() -> None:
    function = resolve_reward("0.5*gain + evidence-recall + f1 - 2*format-penalty")
    terms = {"gain": 0.25, "evidence-recall": 0.5, "f1": 1.0, "format-penalty": -2.0}
    assert shaping(function, [terms]).tolist() == [0.75]
    assert shaping(resolve_reward("outcome-f1"), [{"f1": 1.0}, {"f1": 0.0}]).tolist() == [0.0, 0.0]
