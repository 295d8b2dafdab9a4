"""verl: an agent loop that plays the environment, and advantage estimators over turns.

verl imports this package in each of its processes where ``VERL_USE_EXTERNAL_MODULES`` names it; the agent
loop ``searchqa`` and the estimators of :data:`REGISTERED` are then known by name. ``examples/verl`` has the
configuration and the launch script.

verl's agent loops return one number an episode, which it writes on the last token. :class:`TurnRewards`
writes each turn's gain on the first token of the turn and the outcome on the last token of all instead, so
that ``token_level_rewards`` hold them apart and any estimator can use them. This needs verl's v1 trainer
(``trainer.use_v1``, the default); the trainer before it sees their sum alone. verl keeps rewards in float32,
and does not say whether the last turn has a gain: each estimator is registered as NAME, and as NAME-last for
rewards that pay one.
"""

from __future__ import annotations

from igpo_gym.libraries import needs

with needs("igpo_gym.adapters.verl", "verl", "verl"):
    import verl  # noqa: F401

from igpo_gym.adapters.verl.estimators import LAST, REGISTERED, check_algorithm
from igpo_gym.adapters.verl.loop import SearchAgentLoop, TurnRewards, stop_params
from igpo_gym.adapters.verl.rows import AGENT, dataset
from igpo_gym.adapters.verl.scorer import RolloutScorer

__all__ = [
    "AGENT",
    "LAST",
    "REGISTERED",
    "RolloutScorer",
    "SearchAgentLoop",
    "TurnRewards",
    "check_algorithm",
    "dataset",
    "stop_params",
]
