"""The table of estimators, and how one is found by name."""

from __future__ import annotations

from collections.abc import Callable

import igpo_gym.specs as specs
from igpo_gym.agents.training.estimators.by_turn import a2tgpo, mt_grpo
from igpo_gym.agents.training.estimators.igpo import igpo_joint, igpo_raw, igpo_scaled, igpo_separate
from igpo_gym.agents.training.estimators.interface import Estimator
from igpo_gym.agents.training.estimators.outcomes import grpo, reinforce_plus_plus, rloo
from igpo_gym.agents.training.estimators.returns import gigpo, rebn, vine
from igpo_gym.errors import SpecError
from igpo_gym.parameters import make, read_call
from igpo_gym.rewards.functions import RewardFunction

ESTIMATORS: dict[str, Callable[..., Estimator]] = {
    "igpo-joint": igpo_joint,
    "igpo-separate": igpo_separate,
    "igpo-scaled": igpo_scaled,
    "igpo-raw": igpo_raw,
    "grpo": grpo,
    "rloo": rloo,
    "reinforce++": reinforce_plus_plus,
    "rebn": rebn,
    "mt-grpo": mt_grpo,
    "gigpo": gigpo,
    "a2tgpo": a2tgpo,
    "vine": vine,
}
"""The package's estimators: a function from parameters, all of which have defaults, to the estimator."""

for _name, _maker in ESTIMATORS.items():
    specs.register("estimator", _name, _maker)
for _name in ("noise", "permuted", "last-gain"):
    specs.register(
        "estimator", _name, f"igpo_gym.agents.training.estimators.controls:{_name.replace('-', '_')}"
    )

DEFAULT = "igpo-separate"


def resolve_estimator(spec: str | Estimator) -> Estimator:
    """An estimator from a name, with parameters in parentheses or without, or the estimator itself.

    A name is one of the package's, one that was registered, or "package.module:attribute".

    >>> resolve_estimator("a2tgpo(alpha=1.0)").name
    'a2tgpo(alpha=1.0)'

    Raises SpecError for a name or parameter that is not known, and for values that do not fit.
    """
    if isinstance(spec, Estimator):
        return spec
    estimator: Estimator = make("estimator", *read_call(spec, "a2tgpo(alpha=1.0)"))
    return estimator


def check_reward(estimator: Estimator, reward: RewardFunction, gamma: float = 1.0) -> None:
    """Raise SpecError for a reward whose gains the estimator would ignore, or that lacks those it needs, and
    for a potential of another discount than ``gamma``, that of the returns."""
    if reward.gains and not estimator.uses_gains:
        others = ", ".join(name for name in specs.names("estimator") if resolve_estimator(name).uses_gains)
        raise SpecError(
            f"{estimator.name} takes the outcome alone, but the reward {reward.name!r} pays gains "
            f"({', '.join(reward.gains)}): choose an estimator that uses them ({others}), or a reward without"
        )
    if estimator.needs_last_gain and not reward.last_gain:
        raise SpecError(
            f"{estimator.name} needs a gain on the last turn, which the reward {reward.name!r} does not pay: "
            "take f1 + value-gain(terminal=1)"
        )
    for _, term in reward.terms:
        name, given = term.made_of or ("", {})
        if name == "shaping" and float(given.get("gamma", 1.0)) != gamma:
            raise SpecError(
                f"{term.name} is harmless with the discount of the returns alone: write "
                f"potential(gamma={gamma:g}), or shaping(gamma={gamma:g}) in a sum"
            )
