from __future__ import annotations

from typing import Any

import pytest

from igpo_gym.agents.training.settings import Settings
from igpo_gym.errors import SpecError


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"advantages": "ppo"}, "unknown advantage estimator 'ppo'; choose one of: a2tgpo"),
        ({"advantages": "rebn", "curriculum": True}, "the curriculum is for igpo"),
        ({"reward": "gold"}, "unknown reward 'gold'"),
        ({"protocol": "xml"}, "unknown protocol 'xml'"),
        ({"scorer": "none"}, "reward 'igpo' needs a scorer"),
        ({"updates": 0}, "updates must be at least 1, not 0"),
        ({"kl_coef": -1.0}, "kl_coef must not be negative"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        (
            {"advantages": "grpo"},
            r"grpo takes the outcome alone, but .* pays gains \(gain\): choose .*igpo-joint",
        ),
        ({"advantages": "a2tgpo(beta=1)"}, "'a2tgpo' has no parameter 'beta'; it has: alpha, clip_low"),
        ({"advantages": "vine"}, "take f1 \\+ value-gain"),
        ({"group_size": 1}, r"no group can be compared.*at least 2.*\(reinforce\+\+, rebn, vine\)"),
        ({"seed": -1}, "seed must not be negative, and -1 is"),
        ({"clip": 1.5}, "clip must be between 0 and 1"),
        ({"scorer": "refreshed"}, "refreshed:10"),
        ({"scorer": "refreshed:0"}, "refreshed:10"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        Settings(**settings)


def test_when_a_scorer_is_refreshed() -> None:
    assert Settings(scorer="refreshed:12").refresh_every == 12
    assert Settings(scorer="frozen").refresh_every is None


def test_a_group_of_one_is_enough_where_groups_are_not_compared() -> None:
    assert Settings(group_size=1, advantages="rebn").group_size == 1
