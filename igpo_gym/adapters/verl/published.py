"""Published settings in verl's words, from the one source: :mod:`igpo_gym.agents.training.recipes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from igpo_gym.adapters.verl.estimators import REGISTERED, fitting
from igpo_gym.agents.training.recipes import recipe as find
from igpo_gym.protocols import CHAT
from igpo_gym.rewards import resolve_reward

MESSAGE_TOKENS = 512
"""How long a message is at most, where no recipe says so."""

_ACTOR = "actor_rollout_ref.actor"
_VERL: Mapping[str, tuple[str, ...]] = {
    "gamma": ("algorithm.gamma",),
    "batch_questions": ("data.train_batch_size",),
    "group_size": ("actor_rollout_ref.rollout.n",),
    "temperature": ("actor_rollout_ref.rollout.temperature",),
    "epochs": (f"{_ACTOR}.ppo_epochs",),
    "learning_rate": (f"{_ACTOR}.optim.lr",),
    "weight_decay": (f"{_ACTOR}.optim.weight_decay",),
    "clip": (f"{_ACTOR}.clip_ratio", f"{_ACTOR}.clip_ratio_low", f"{_ACTOR}.clip_ratio_high"),
    "kl_coef": (f"{_ACTOR}.kl_loss_coef",),
    "entropy_coef": (f"{_ACTOR}.entropy_coeff",),
    "loss": (f"{_ACTOR}.loss_agg_mode",),
}
"""For each of a recipe's settings, those of verl that it is."""

_ENVIRONMENT = ("protocol", "tools", "scorer", "reward", "max_turns", "top_k", "on_invalid")
"""Those that are arguments of the environment."""


def loop_settings(recipe: str | None, settings: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """The environment's settings, those given before those of the recipe, and a message's most tokens.

    >>> chosen, tokens = loop_settings("paper", {"questions": "world", "max_turns": 4})
    >>> chosen["protocol"], chosen["max_turns"], tokens
    ('igpo', 4, 2000)
    """
    published: Mapping[str, Any] = {} if recipe is None else find(recipe).settings
    own = {name: published[name] for name in _ENVIRONMENT if name in published}
    return {"protocol": CHAT, **own, **settings}, published.get("max_tokens", MESSAGE_TOKENS)


def overrides(recipe: str, settings: Mapping[str, Any]) -> list[str]:
    """A recipe as overrides of verl's configuration, with the estimator that fits the reward.

    A reward without gains is learned with verl's ``grpo``: the baseline of the same settings.

    >>> overrides("paper", {})[:2], overrides("paper", {"reward": "outcome-f1"})[0]
    (['algorithm.adv_estimator=igpo-joint', 'algorithm.gamma=1.0'], 'algorithm.adv_estimator=grpo')
    """
    published = find(recipe).settings
    reward = resolve_reward(loop_settings(recipe, settings)[0]["reward"])
    estimator = published["advantages"]
    if not reward.gains:
        estimator = "grpo"
    elif estimator in REGISTERED:
        estimator = fitting(estimator, reward)
    made = [f"algorithm.adv_estimator={estimator}"]
    made += [f"{name}={published[ours]}" for ours, names in _VERL.items() for name in names]
    # verl's number is of questions, and it is multiplied by the group.
    part = published["batch_questions"] // published["minibatches"]
    made.append(f"{_ACTOR}.ppo_mini_batch_size={part}")
    return [*made, f"{_ACTOR}.use_kl_loss={published['kl_coef'] > 0}"]
