from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import permutation_test

from igpo_gym.benchmark.study.rows import RATES
from igpo_gym.benchmark.study.verdicts import CHAIN, Verdict, by_arm, findings, placebo
from tests.benchmark.study.made import arm, run

LOW = (0.30, 0.31, 0.29, 0.32, 0.33, 0.28)
HIGH = (0.40, 0.43, 0.41, 0.45, 0.42, 0.44)


def test_the_order_is_the_registered_one() -> None:
    assert [each.name for each in CHAIN] == ["H1", "H2", "H4a", "H4b", "H4c", "H3", "H5"]


def test_the_first_that_does_not_hold_ends_the_chain() -> None:
    runs = arm("igpo", HIGH) + arm("grpo", LOW) + arm("noise", HIGH[::-1], 4) + arm("frozen", LOW, 6)
    found = {each.hypothesis.name: each for each in findings(runs)}
    assert found["H1"].verdict is Verdict.HOLDS
    exact = permutation_test((HIGH, LOW), lambda a, b: np.mean(a) - np.mean(b), n_resamples=np.inf)
    assert found["H1"].p == pytest.approx(exact.pvalue) == pytest.approx(2 / 924)
    assert found["H2"].verdict is Verdict.HOLDS
    assert found["H4a"].verdict is Verdict.OPEN
    assert found["H4a"].p == 1
    assert found["H5"].verdict is Verdict.ENDED, "though it is as far apart as H1"
    assert math.isnan(found["H5"].p)
    assert found["H5"].ahead.low > 0, "an interval it has"
    assert not found["H1"].planned, "six of ten seeds"


def test_what_is_told_apart_the_other_way_round_does_not_hold() -> None:
    first, second, *_ = findings(arm("igpo", LOW) + arm("grpo", HIGH))
    assert first.verdict is Verdict.CONTRADICTED
    assert second.verdict is Verdict.ENDED


def test_below_five_seeds_there_is_no_verdict() -> None:
    first, *_ = findings(arm("igpo", HIGH[:4]) + arm("grpo", LOW))
    assert first.verdict is Verdict.FEW
    assert math.isnan(first.p)
    assert [each.verdict for each in findings([])] == [Verdict.FEW] + [Verdict.ENDED] * 6


def test_efficiency_is_compared_over_the_tokens_that_all_runs_have() -> None:
    # Both go along the same line over updates; ours with half the tokens.
    ours = [run("igpo", seed, 0.5 + seed / 100, tokens=(0, 50, 100)) for seed in range(5)]
    theirs = [run("grpo", seed, 0.5 + seed / 100, tokens=(0, 100, 200)) for seed in range(5)]
    first, second, *_ = findings(ours + theirs)
    assert first.p == 1
    mine, yours = second.hypothesis.samples(by_arm(ours + theirs))
    assert mine[0] == pytest.approx(0.3), "from 0.1 to 0.5"
    assert yours[0] == pytest.approx(0.2), "from 0.1 to 0.3 in as many tokens"


def test_a_figure_that_is_not_defined_has_no_verdict() -> None:
    """A run that could not make one update has sampled no tokens, so that there is no area up to them."""
    runs = arm("igpo", HIGH) + arm("grpo", LOW[:5]) + [run("grpo", 5, 0.3, tokens=(0, 0, 0))]
    first, second, third, *_ = findings(runs)
    assert first.verdict is Verdict.HOLDS
    assert math.isnan(second.p)
    assert second.verdict is Verdict.UNDEFINED
    assert third.verdict is Verdict.ENDED


def test_ten_seeds_an_arm_are_tested_exactly() -> None:
    high, low = ([start + n / 100 for n in range(10)] for start in (0.5, 0.3))
    first, *_ = findings(arm("igpo", high) + arm("grpo", low))
    assert first.p == pytest.approx(2 / 184756)
    assert first.planned


def test_the_leads_at_the_outer_starts_are_compared_seed_by_seed() -> None:
    runs = arm("igpo-start-05", [x + 0.2 for x in LOW], 5) + arm("grpo-start-05", LOW, 5)
    runs += arm("igpo-start-35", [x + 0.1 + n / 1000 for n, x in enumerate(LOW)], 5) + arm(
        "grpo-start-35", LOW, 5
    )
    hypothesis = next(each for each in CHAIN if each.name == "H3")
    ours, theirs = hypothesis.samples(by_arm(runs))
    assert ours == pytest.approx([0.2] * 6)
    assert theirs == pytest.approx([0.1, 0.101, 0.102, 0.103, 0.104, 0.105])


def test_the_runs_of_part_1_are_not_looked_at() -> None:
    assert by_arm([run("igpo", 100, 0.9, part=1, rate=RATES[1])]) == {}


@pytest.mark.parametrize(("ends", "vanished"), [(LOW, True), ([x + 0.05 for x in LOW], False), (HIGH, False)])
def test_a_placebos_lead_has_vanished_only_if_its_upper_end_is_below_half(
    ends: list[float], vanished: bool
) -> None:
    found = placebo(arm("igpo", HIGH) + arm("grpo", LOW) + arm("placebo", ends, 3))
    assert found.igpo.value == pytest.approx(0.12, abs=0.001)
    assert found.vanished is vanished
    assert not placebo(arm("igpo", HIGH)).vanished


def test_a_placebos_lead_cannot_vanish_where_igpo_has_none() -> None:
    lower = [x - 0.15 for x in LOW]
    found = placebo(arm("igpo", LOW) + arm("grpo", HIGH) + arm("placebo", lower, 3))
    assert found.placebo.high < found.igpo.value / 2 < 0
    assert not found.leads
    assert not found.vanished
