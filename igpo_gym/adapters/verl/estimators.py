"""The package's advantage estimators under verl's names, and which of them fit a reward."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from verl.trainer.ppo.core_algos import register_adv_est

from igpo_gym.adapters.tokens import row_advantages
from igpo_gym.agents.training.estimators import ESTIMATORS, Estimator, check_reward, resolve_estimator
from igpo_gym.errors import SpecError
from igpo_gym.rewards import RewardFunction

if TYPE_CHECKING:
    from torch import Tensor

LAST = "-last"
"""What an estimator's name ends with, where the reward pays the last turn a gain."""

REGISTERED = tuple(
    name for name in ESTIMATORS if (made := resolve_estimator(name)).uses_gains and not made.needs_states
)
"""The estimators that verl knows by these names (``algorithm.adv_estimator``), and with ``-last``. Those of
outcomes alone verl has itself, and it tells no states."""

logger = logging.getLogger(__name__)


def fitting(name: str, reward: RewardFunction) -> str:
    """The name under which verl knows an estimator of this package that is to divide this reward.

    >>> from igpo_gym.rewards import resolve_reward
    >>> fitting("igpo-joint", resolve_reward("igpo")), fitting("rebn", resolve_reward("potential"))
    ('igpo-joint', 'rebn-last')
    """
    return name + LAST * reward.last_gain


def check_algorithm(algorithm: Any, reward: RewardFunction) -> None:
    """Raise SpecError for verl settings (``algorithm``, if they can be seen) that do not fit the reward.

    A KL penalty in the reward would lie on the tokens that carry gains; rejected tokens would leave the mask,
    by which turns are told apart; an estimator NAME is for rewards that pay the last turn no gain, NAME-last
    for those that do; a potential is of the discount ``gamma``.
    """
    if algorithm is None:
        return
    if algorithm.get("use_kl_in_reward", False):
        raise SpecError(
            "algorithm.use_kl_in_reward writes a penalty onto the tokens that carry the turns' gains: set it "
            "to False, and actor_rollout_ref.actor.use_kl_loss to True"
        )
    spec = str(algorithm.get("adv_estimator", ""))
    name = spec.removesuffix(LAST)
    if name in REGISTERED:
        if (algorithm.get("rollout_correction") or {}).get("rollout_rs"):
            raise SpecError(
                "algorithm.rollout_correction.rollout_rs takes rejected tokens out of the mask by which "
                "turns are told apart: set it to null; rollout_is may stay"
            )
        check_reward(resolve_estimator(name), reward, float(algorithm.get("gamma", 1.0)))
        if spec != fitting(name, reward):
            pays = "pays" if reward.last_gain else "does not pay"
            raise SpecError(
                f"the reward {reward.name!r} {pays} the last turn a gain: set algorithm.adv_estimator to "
                f"{fitting(name, reward)}, not {spec}"
            )


def tensor_advantages(
    estimator: Estimator,
    last_gain: bool,
    token_level_rewards: Tensor,
    response_mask: Tensor,
    index: np.ndarray[Any, Any],
    config: Any = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Advantages by one of our estimators, and the same as returns: both [batch, response], as verl's.

    ``index`` are the groups; ``config.gamma`` is the discount per turn. Warns where no turn of the batch has
    a gain: the outcome alone then teaches, and nothing else would say so.
    """
    mask = response_mask.bool().cpu().numpy()
    rewards = token_level_rewards.detach().double().cpu().numpy()
    if not _with_gains(mask, rewards):
        logger.warning(
            "no turn of a batch has a gain: the outcome alone teaches (are they answered at once?)"
        )
    spread = row_advantages(
        estimator, mask, rewards, list(index), last_gain, gamma=1.0 if config is None else config.gamma
    )
    advantages = torch.as_tensor(spread, dtype=token_level_rewards.dtype, device=token_level_rewards.device)
    return advantages, advantages


def _with_gains(mask: np.ndarray[Any, Any], rewards: np.ndarray[Any, Any]) -> bool:
    """Whether any reward lies before the policy's last token of its row, where the outcome is."""
    before_last = np.cumsum(mask[:, ::-1], axis=1)[:, ::-1] > 1
    return bool(rewards[mask & before_last].any())


def _register(name: str, last_gain: bool) -> None:
    estimator = resolve_estimator(name)

    def estimate(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        return tensor_advantages(estimator, last_gain, *args, **kwargs)

    register_adv_est(name + LAST * last_gain)(estimate)


for _name in REGISTERED:
    for _last_gain in (False, True):
        _register(_name, _last_gain)
