"""The settings of both forms of the wrapper."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

from igpo_gym.envs.information_gain.turns import Answers, Mode, PricedTurns, adds, as_text
from igpo_gym.protocols import ANSWER_PROBE, AnswerProbe
from igpo_gym.protocols.probe import resolve_probe
from igpo_gym.rewards.functions import RewardFunction
from igpo_gym.rewards.pricing import Pricing
from igpo_gym.scorers.interface import AnswerScorer
from igpo_gym.text import without_credentials


class GainWrapper:
    """The constructor of both forms; each stands before the class of Gymnasium that it wraps with.

    It is pickled as its settings and its episodes: reward and models are made again from what names them.
    """

    _ends_too_long: bool
    """Whether it can end an episode whose transcript has become longer than the scorer reads."""

    def __init__(
        self,
        env: Any,
        scorer: str | AnswerScorer,
        answers: Answers = "answers",
        *,
        reward: str | RewardFunction = "gain",
        mode: Mode = "add",
        reference: str | AnswerScorer | None = None,
        probe: AnswerProbe | Mapping[str, str] = ANSWER_PROBE,
        observation_text: Callable[[Any], str] = as_text,
        action_text: Callable[[Any], str] = as_text,
    ) -> None:
        probe = resolve_probe(probe)
        told = {"scorer": scorer, "answers": answers, "reward": reward, "mode": mode, "reference": reference}
        others = {"probe": probe, "observation_text": observation_text, "action_text": action_text}
        # Those by default are left out, for a function in a specification cannot be written as JSON.
        changed = {name: each for name, each in others.items() if each not in (ANSWER_PROBE, as_text)}
        self._wrap(env, without_credentials(told | changed))
        self._make_pricing = partial(Pricing.of, reward, scorer, reference, probe, adds(mode))
        self._texts = observation_text, action_text
        self._assemble()
        self._answers = answers
        self._owed: tuple[Any, Any] | None = None
        """What a step asked for and what the environment made of it, as long as it has no belief."""
        self._number = 0

    def _assemble(self) -> None:
        """Make what the settings name."""
        pricing = self._make_pricing()
        self._turns = PricedTurns(pricing, *self._texts, self._ends_too_long)
        self.reward = pricing.reward
        """The reward that is paid, with ``environment`` as its outcome under ``mode="add"``."""

    def __copy__(self) -> Self:
        other = object.__new__(type(self))  # which shares the models, for it is not made from a state
        other.__dict__.update(self.__dict__)
        return other

    def __getstate__(self) -> dict[str, Any]:
        # The functions of a reward are made where they are asked for, and cannot be pickled.
        return {name: each for name, each in self.__dict__.items() if name not in ("_turns", "reward")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._assemble()

    @abstractmethod
    def _wrap(self, env: Any, told: dict[str, Any]) -> None:
        """Call the constructor of Gymnasium's class; ``told`` are the settings that a specification holds."""
