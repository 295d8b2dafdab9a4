"""Recipes hold what was published: the numbers below are those of the papers and of the authors' scripts."""

from __future__ import annotations

import pytest

from igpo_gym.agents.training.recipes import RECIPES, recipe
from igpo_gym.agents.training.settings import Settings
from igpo_gym.errors import SpecError

COMMON = {"learning_rate": 1e-6, "kl_coef": 0.001, "clip": 0.2, "temperature": 1.0, "weight_decay": 0.01}
PUBLISHED = {
    "paper": {"group_size": 16, "batch_questions": 32, "gamma": 1.0, "max_turns": 10, "max_tokens": 2000},
    "authors": {"group_size": 16, "batch_questions": 32, "gamma": 1.0, "max_turns": 10, "max_tokens": 2000},
    "dr-venus": {"group_size": 8, "batch_questions": 16, "gamma": 0.95, "max_turns": 200, "max_tokens": 8192},
}
ESTIMATORS = {"paper": "igpo-joint", "authors": "igpo-separate", "dr-venus": "igpo-scaled"}
GAINS = {"paper": "gain(aliases=first)", "authors": "log-gain(aliases=first)"}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_what_was_published(name: str) -> None:
    settings = Settings(**recipe(name).settings)
    if name != "dr-venus":  # a step for each 32 rollouts
        assert settings.batch_questions * settings.group_size / settings.minibatches == 32
    for field, value in {**COMMON, **PUBLISHED[name]}.items():
        assert getattr(settings, field) == value, field
    assert settings.advantages == ESTIMATORS[name]
    assert settings.scorer == "policy"
    assert settings.reward.startswith(GAINS.get(name, "log-gain"))


def test_an_unknown_recipe_is_answered_with_those_that_exist() -> None:
    with pytest.raises(SpecError, match="unknown recipe 'grpo'; choose one of: authors, dr-venus, paper"):
        recipe("grpo")
