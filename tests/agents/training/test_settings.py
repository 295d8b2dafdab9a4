from __future__ import annotations

import math
from typing import Any

import pytest

from igpo_gym.agents.training.settings import Settings
from igpo_gym.config import EnvConfig
from igpo_gym.episode import Question
from igpo_gym.errors import SpecError


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"advantages": "ppo"}, "unknown advantage estimator 'ppo'; choose one of: a2tgpo"),
        ({"advantages": "rebn", "curriculum": True}, "the curriculum is for igpo"),
        (
            {"advantages": "noise(of=igpo-separate)", "curriculum": True},
            "the curriculum is for igpo",
        ),
        ({"reward": "gold"}, "unknown reward 'gold'"),
        ({"protocol": "xml"}, "unknown protocol 'xml'"),
        ({"scorer": "none"}, "reward 'igpo' needs a scorer"),
        ({"updates": 0}, "updates must be a whole number of at least 1, not 0"),
        ({"kl_coef": -1.0}, "kl_coef must not be negative"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        (
            {"advantages": "grpo"},
            r"grpo takes the outcome alone, but .* pays gains \(gain\): choose .*igpo-joint",
        ),
        ({"advantages": "a2tgpo(beta=1)"}, "'a2tgpo' has no parameter 'beta'; it has: alpha, clip_low"),
        ({"advantages": "vine"}, "take f1 \\+ value-gain"),
        ({"group_size": 1}, r"no group can be compared.*at least 2.*\(reinforce\+\+, rebn, vine\)"),
        ({"seed": -1}, "seed must be a whole number of at least 0, not -1"),
        ({"clip": 1.5}, "clip must be between 0 and 1"),
        ({"max_norm": 0.0}, "max_norm must be above 0, not 0.0"),
        ({"max_norm": -1.0}, "max_norm must be above 0"),
        ({"gamma": -3.0}, "gamma must be between 0 and 1"),
        ({"gamma": math.nan}, "gamma must be a finite number, not nan"),
        ({"temperature": math.inf}, "temperature must be a finite number"),
        ({"kl_coef": math.nan}, "kl_coef must be a finite number"),
        ({"learning_rate": -1.0}, "learning_rate must not be negative"),
        ({"learning_rate": "1e-5"}, "learning_rate must be a number, not '1e-5'"),
        ({"batch_questions": "4"}, "batch_questions must be a whole number of at least 1, not '4'"),
        ({"updates": 2.5}, "updates must be a whole number of at least 1, not 2.5"),
        ({"epochs": True}, "epochs must be a whole number of at least 1, not True"),
        ({"lora": 1.5}, "lora must be a whole number of at least 0, not 1.5"),
        ({"curriculum": "no"}, "curriculum must be true or false, not 'no'"),
        ({"sampler": None}, "sampler must be a text, not None"),
        ({"loss": "token_mean"}, "unknown loss 'token_mean'; did you mean token-mean"),
        ({"ratio": "Turn"}, "unknown ratio 'Turn'; did you mean turn"),
        ({"optimizer": "adam"}, "unknown optimizer 'adam'; did you mean adamw"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin'"),
        ({"precision": "fp16"}, "unknown precision 'fp16'"),
        ({"advantages": "a2tgpo(clip_width=5)"}, "clip_width between 0 and 1"),
        ({"advantages": "a2tgpo(clip_low=-1)"}, "clip_low is at least 0"),
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
    assert Settings(group_size=1, branch="even:2").group_size == 1  # its branches are compared


def test_a_run_takes_what_it_can_write_down() -> None:
    with pytest.raises(SpecError, match="questions must be a text or a number, which a run can write down"):
        Settings(questions=[Question("1", "?", ("a",))])
    with pytest.raises(SpecError, match="oracle_info is no setting of a training run"):
        Settings(oracle_info=True)
    with pytest.raises(SpecError, match="top_k must be a whole number of at least 1"):
        Settings(top_k=0)


def test_the_environment_of_a_run_is_described_by_its_fields() -> None:
    settings = Settings(top_k=5, on_limit="answer", group_size=2)
    expected = EnvConfig(top_k=5, on_limit="answer", group_size=2, scorer="policy")
    assert settings.environment == expected


def test_a_potential_has_the_discount_of_the_returns() -> None:
    for reward in ("potential", "shaping + f1", "potential(gamma=0.5)"):
        with pytest.raises(SpecError, match=r"write potential\(gamma=0\.9\)"):
            Settings(reward=reward, gamma=0.9, advantages="rebn")
    for gamma, reward in ((0.9, "potential(gamma=0.9)"), (1.0, "potential"), (0.9, "igpo")):
        assert Settings(reward=reward, gamma=gamma, advantages="rebn").gamma == gamma
