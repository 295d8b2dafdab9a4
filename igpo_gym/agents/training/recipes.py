"""Published settings by name: what ``igpo-gym train --recipe NAME`` sets, unless the command says otherwise.

They are those of the papers and of the scripts that their authors published. What this trainer does
otherwise is said with each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from igpo_gym.errors import choose


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings of a publication.

    >>> RECIPES["paper"].settings["advantages"], RECIPES["authors"].settings["advantages"]
    ('igpo-joint', 'igpo-separate')
    """

    settings: Mapping[str, Any]
    """By the names of :class:`igpo_gym.agents.training.settings.Settings`."""
    source: str
    otherwise: str
    """What is done otherwise here."""


_IGPO = {
    "protocol": "igpo",
    "max_turns": 10,
    "top_k": 5,
    "max_tokens": 2000,
    "on_invalid": "end",
    "scorer": "policy",
    "gamma": 1.0,
    "batch_questions": 32,
    "group_size": 16,
    "temperature": 1.0,
    "epochs": 1,
    "minibatches": 16,
    "learning_rate": 1e-6,
    "weight_decay": 0.01,
    "clip": 0.2,
    "kl_coef": 0.001,
    "entropy_coef": 0.001,
    "loss": "token-mean",
}
"""What the paper and its script have in common: policy_optimization.sh and the trainer's own defaults."""

_PRECISION = "on a GPU the weights are bfloat16 beside float32 masters, where the script casts float32 ones"

RECIPES: Mapping[str, Recipe] = {
    "paper": Recipe(
        {
            **_IGPO,
            "reward": "gain(aliases=first) + f1(metric=igpo) - 2*format-penalty",
            "advantages": "igpo-joint",
        },
        "IGPO, 2510.14967",
        _PRECISION,
    ),
    "authors": Recipe(
        {
            **_IGPO,
            "reward": "log-gain(aliases=first) + f1(metric=igpo) - 2*format-penalty",
            "advantages": "igpo-separate",
        },
        "the later script of IGPO's authors",
        _PRECISION,
    ),
    "dr-venus": Recipe(
        {
            **_IGPO,
            "reward": "log-gain(aliases=first, tools=open) + judge - format-penalty",
            "advantages": "igpo-scaled",
            "tools": "search + open",
            "max_turns": 200,
            "max_tokens": 8192,
            "on_invalid": "continue",
            "gamma": 0.95,
            "batch_questions": 16,
            "group_size": 8,
            "minibatches": 1,
        },
        "DR-Venus, 2604.19859",
        "the penalty falls once an episode, where it falls for each invalid message; samples are drawn "
        "from all tokens, where it has top_p 0.95; one optimizer step a batch. It needs a judge: --judge URL",
    ),
}
"""By name. A reward of ``judge`` needs ``--judge``."""


def recipe(name: str) -> Recipe:
    """The recipe of that name. Raises SpecError, with the names that exist, for another one."""
    return choose(RECIPES, name, "recipe")
