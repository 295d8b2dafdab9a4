"""Numbers that others wrote: JSON has larger ones than a float can be."""

from __future__ import annotations

from igpo_gym.agents.rollouts.transcripts.fields import about
from igpo_gym.data.answers import answers_of
from igpo_gym.numbers import finite_number

HUGE = 10**400


def test_what_no_float_can_be_is_no_finite_number() -> None:
    assert finite_number(HUGE) is finite_number(-HUGE) is finite_number(True) is finite_number("1") is None


def test_a_record_with_such_a_score_is_read_without_it() -> None:
    told = about({"question": "Where?", "metrics": {"em": 1, "f1": HUGE}})
    assert dict(told.told) == {"metrics.em": 1.0}


def test_it_may_be_an_answer() -> None:
    assert answers_of(HUGE) == ("1" + 400 * "0",)
