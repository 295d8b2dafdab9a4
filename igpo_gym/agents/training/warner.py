"""What a run warns of, of each thing once: no gains at all, a policy far from its reference, alarms."""

from __future__ import annotations

import logging

from igpo_gym.agents.training.alarms import raised
from igpo_gym.agents.training.estimators import Turns
from igpo_gym.agents.training.logs import Metrics

logger = logging.getLogger(__name__)

FAR = 1.0
"""A KL to the reference, in nats a token, that is worth a warning: runs that learn stay below a tenth."""


class Warner:
    """Knows what it has warned of, and warns of nothing a second time.

    >>> warner = Warner()
    >>> warner.of_distance(1, {"kl": 0.05})
    >>> warner.told
    set()
    """

    def __init__(self) -> None:
        self.told: set[str] = set()
        """The names of what it has warned of."""

    def of_missing_gains(self, turns: Turns, reward: str) -> Metrics:
        """Whether a batch has no gain at all, under a reward and an estimator that use gains.

        The outcome alone then teaches, as in GRPO, and nothing else would say so.
        """
        silent = not turns.gains.any()
        if silent and self._first("gains"):
            logger.warning(
                "no turn of a batch has a gain: the outcome alone teaches, though the reward %r pays gains "
                "(do episodes answer at once, does the scorer read the questions?)",
                reward,
            )
        return {"batches_without_gain": float(silent)}

    def of_distance(self, update: int, learned: Metrics) -> None:
        """Warn where the policy is far from the model that it began as."""
        kl = learned.get("kl", 0.0)
        if kl > FAR and self._first("distance"):
            logger.warning(
                "update %d: the policy has left its reference, with a KL of %.1f nats a token (each token "
                "counts at most 10): lower learning_rate, raise kl_coef, or begin with a model that can read "
                "the questions",
                *(update, kl),
            )

    def of_alarms(self, update: int, metrics: Metrics) -> None:
        """Warn of each alarm that these metrics raise."""
        for alarm in raised(metrics):
            if self._first(f"alarm {alarm.name}"):
                logger.warning(
                    "update %d: alarm %s, %.2f where %.2f is alarming: %s",
                    *(update, alarm.name, metrics[f"alarm_{alarm.name}"], alarm.threshold, alarm.sentence),
                )

    def _first(self, what: str) -> bool:
        new = what not in self.told
        self.told.add(what)
        return new
