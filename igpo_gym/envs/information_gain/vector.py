"""The wrapper for a vector environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorWrapper

from igpo_gym.envs.information_gain.turns import Play, check_same, gold_answers, told_info
from igpo_gym.envs.information_gain.wrapper import GainWrapper
from igpo_gym.envs.spaces import UnicodeText
from igpo_gym.episode import Episode

if TYPE_CHECKING:
    _VectorWrapper = VectorWrapper[Any, Any, Any, Any, npt.NDArray[Any]]
else:  # before Gymnasium 1.4 some of its classes take no parameters
    _VectorWrapper = VectorWrapper


class VectorInformationGain(GainWrapper, _VectorWrapper):
    """:class:`InformationGain` for a vector environment: all beliefs of a step are one call to the scorer.

    The arguments are the same; ``observation_text`` and ``action_text`` are asked for each environment's own.
    All autoreset modes are supported. ``answers`` as a function gets the vector environment and the info of
    one environment. A transcript that grows longer than the scorer reads keeps its belief, and its
    environment goes on, for only the vector environment itself can end it.
    """

    _ends_too_long = False

    def _wrap(self, env: Any, told: dict[str, Any]) -> None:
        VectorWrapper.__init__(self, env)
        self._autoreset = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self.episodes: list[Episode] = []
        """The running, or just ended, episode of each environment."""
        self._resetting: set[int] = set()
        """The environments whose reset has begun, and was not completed."""

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environments, or those of ``options["reset_mask"]``, and ask for their first beliefs."""
        self._owed = None
        mask = (options or {}).get("reset_mask")
        if mask is None:
            self.episodes = []
        chosen = range(self.num_envs) if mask is None else np.flatnonzero(mask).tolist()
        self._resetting.update(chosen)
        observations, infos = self.env.reset(seed=seed, options=options)
        fresh = self._fresh(chosen, observations, infos)
        self._turns.step([], list(fresh.values()))
        self.episodes = [fresh[i] if i in fresh else self.episodes[i] for i in range(self.num_envs)]
        self._resetting.difference_update(chosen)
        return observations, self._with_told(infos, fresh)

    def step(
        self, actions: Any
    ) -> tuple[Any, npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], dict[str, Any]]:
        """Step the environments, and price what each of them told."""
        if not self.episodes:
            raise ResetNeeded("call reset() before step()")
        done = [place for place, episode in enumerate(self.episodes) if episode.done]
        if self._resetting:
            raise ResetNeeded(f"the reset of environments {sorted(self._resetting)} failed: reset them again")
        if done and self._autoreset is AutoresetMode.DISABLED:
            raise ResetNeeded(
                f"environments {done} have ended: reset them with options={{'reset_mask': ...}}"
            )
        own_actions = _each(self.env.single_action_space, self.env.action_space, actions)
        if self._owed is None:
            for action in own_actions:
                self._turns.action_text(action)  # raises before the environments move
            self._owed = own_actions, self.env.step(actions)
        asked, (observations, paid, terminations, truncations, infos) = self._owed
        check_same(asked, own_actions)
        same_step = self._autoreset is AutoresetMode.SAME_STEP
        ended = np.asarray(terminations) | np.asarray(truncations)
        told = self._observations(observations)
        plays = {
            place: Play(
                episode,
                own_actions[place],
                infos["final_obs"][place] if same_step and ended[place] else told[place],
                float(paid[place]),
                bool(terminations[place]),
                bool(truncations[place]),
            )
            for place, episode in enumerate(self.episodes)
            if place not in done
        }
        begun = np.flatnonzero(ended).tolist() if same_step else done
        fresh = self._fresh(begun, observations, infos)
        rewards = np.zeros(self.num_envs, dtype=np.float64)
        rewards[list(plays)] = self._turns.step(list(plays.values()), list(fresh.values()))
        self._owed = None
        for place, episode in fresh.items():
            self.episodes[place] = episode
        going_on = {place: play.episode for place, play in plays.items() if place not in fresh}
        infos = self._with_told(infos, fresh | going_on)
        if final := {place: play.episode for place, play in plays.items() if place in fresh}:
            infos["final_info"] = self._with_told(infos.get("final_info", {}), final)
        return observations, rewards, terminations, truncations, infos

    def _observations(self, observations: Any) -> list[Any]:
        return _each(self.env.single_observation_space, self.env.observation_space, observations)

    def _fresh(
        self, places: Sequence[int], observations: Any, infos: Mapping[str, Any]
    ) -> dict[int, Episode]:
        """Episodes that begin with these observations, by the place of their environment."""
        own = self._observations(observations)
        fresh = {}
        for place in places:
            gold = gold_answers(
                *(self._answers, self.env, _own_info(infos, place)),
                # Only the environment under all wrappers has get_attr, and not every one has it.
                lambda name, place=place: self.unwrapped.get_attr(name)[place],  # type: ignore[attr-defined,misc]
            )
            fresh[place] = self._turns.opened(own[place], gold, f"episode {self._number}")
            self._number += 1
        return fresh

    def _with_told(self, infos: Mapping[str, Any], episodes: Mapping[int, Episode]) -> dict[str, Any]:
        told = {place: told_info(episode) for place, episode in episodes.items()}
        ours = {prefix + name for each in told.values() for name in each for prefix in ("", "_")}
        # An entry of the environment's own with such a name gives way: its column may be of another type.
        found = {name: values for name, values in infos.items() if name not in ours}
        for place, each in told.items():
            found = self.env._add_info(found, each, place)
        return found


def _each(single: gym.Space[Any], batched: gym.Space[Any], values: Any) -> list[Any]:
    """What belongs to each environment."""
    if isinstance(single, gym.spaces.Text | UnicodeText):
        return list(values)
    return list(gym.vector.utils.iterate(batched, values))


def _own_info(infos: Mapping[str, Any], place: int) -> dict[str, Any]:
    """The info of one environment out of those of all."""
    return {
        name: _own_info(values, place) if isinstance(values, dict) else values[place]
        for name, values in infos.items()
        if not name.startswith("_") and infos.get(f"_{name}", {place: True})[place]
    }
