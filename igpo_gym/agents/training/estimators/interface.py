"""What an estimator is: from turns to advantages, with everything else that belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from igpo_gym.agents.training.estimators.turns import Floats, Turns

Function: TypeAlias = Callable[..., Floats]
"""``function(turns, gamma)`` gives the advantage of each turn, [turns]. All of its episodes have ended. Where
an estimator has a curriculum, the function takes ``weights=(of gains, of outcomes)`` as well, and where it
draws at random ``seed``."""
Seed: TypeAlias = tuple[int, ...]
"""The run's seed, and the number of the update or batch: what is drawn at random follows from it alone."""


@dataclass(frozen=True, slots=True)
class Estimator:
    """How turns are compared, and what belongs to it in the loss.

    Calling it gives one number per turn, which all tokens that the agent wrote in that turn share
    (:func:`igpo_gym.agents.training.estimators.per_token`).

    >>> from igpo_gym.rewards.split import Split
    >>> turns = Turns.of([Split((0.3,), 1.0), Split((0.1,), 0.0)], groups=["q", "q"])
    >>> Estimator("plain", lambda turns, gamma: turns.rewards)(turns).tolist()
    [0.3, 1.0, 0.1, 0.0]
    """

    name: str
    function: Function
    uses_gains: bool = True
    """Whether gains count. A reward that pays gains is refused beside an estimator that ignores them."""
    groupwise: bool = True
    """Whether episodes are compared within their group: one without peers then has the advantage 0."""
    needs_states: bool = False
    """Whether it compares turns from equal states: :attr:`Turns.states` must be there."""
    needs_last_gain: bool = False
    """Whether every turn must have a gain, the last one included."""
    curriculum: bool = False
    """Whether the function takes ``weights``."""
    draws: bool = False
    """Whether the function draws at random, and takes ``seed`` (:data:`Seed`)."""
    tells: Callable[[Turns], Mapping[str, float]] | None = None
    """What the log says of a batch beside what it says anyway, by name; means are taken over updates."""
    clip: tuple[float, float] | None = None
    """The bounds below and above 1 between which importance ratios count; None: those of the trainer."""
    clip_scale: Callable[[Turns], Floats] | None = None
    """What each turn's bounds are multiplied with, [turns]; None: 1."""
    ratio: Literal["token", "turn"] | None = None
    """Importance ratios of tokens or of turns; None: as the trainer has it."""

    def __call__(self, turns: Turns, gamma: float = 1.0, *, seed: Seed | None = None, **given: Any) -> Floats:
        """The advantages, [turns], with the discount ``gamma`` per turn.

        ``seed`` counts where the function draws at random; ``weights`` are for functions that take them.

        Episodes that were aborted are left out, as are those without peers where it is groups that are
        compared; their turns have 0. Raises ValueError for turns without the states or gains that it needs.
        """
        if self.needs_states and turns.states is None:
            raise ValueError(f"{self.name} compares turns from equal states: give Turns its states")
        ends = turns.lasts & np.repeat(turns.ended, turns.lengths)
        if self.needs_last_gain and not turns.exists[ends].all():
            raise ValueError(
                f"{self.name} needs a gain on every last turn: a reward such as f1 + value-gain(terminal=1)"
            )
        if self.draws and seed is not None:
            given["seed"] = seed
        return self._of_compared(turns, 0.0, lambda chosen: self.function(chosen, gamma, **given))

    def clips(self, turns: Turns, clip: float) -> tuple[Floats, Floats]:
        """How far below and above 1 the ratios of each turn count, both [turns].

        ``clip`` is the trainer's own bound on both sides, for an estimator that has none.
        """
        scale = self._of_compared(turns, 1.0, self.clip_scale) if self.clip_scale else np.ones(len(turns))
        low, high = self.clip or (clip, clip)
        return low * scale, high * scale

    def _of_compared(self, turns: Turns, other: float, function: Callable[[Turns], Floats]) -> Floats:
        """What the function gives for the turns of episodes that count, and ``other`` for all other turns."""
        chosen = turns.compared if self.groupwise else turns.ended
        values = np.full(len(turns), other)
        if chosen.any():
            values[np.repeat(chosen, turns.lengths)] = function(turns.of_episodes(chosen))
        return values
