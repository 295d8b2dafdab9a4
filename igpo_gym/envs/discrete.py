"""The environment for agents without language: numbered actions, and observations of a fixed size.

The agent chooses among the names of the transcript (see :mod:`igpo_gym.envs.candidates`): search for one of
them, or answer with it. The text environment plays underneath, so rewards, endings and ``info`` are its own.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, SupportsIndex, TypeAlias

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Discrete, Space
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from igpo_gym.config import EnvConfig
from igpo_gym.envs.candidates import CANDIDATE_FEATURES, TURN_FEATURES, Candidates, Features, candidates
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.setup import WithoutCredentials
from igpo_gym.envs.single import SearchQAEnv
from igpo_gym.envs.vector import Mask, SearchQAVectorEnv
from igpo_gym.episode import Answer, Episode
from igpo_gym.errors import SpecError
from igpo_gym.protocols import TextProtocol
from igpo_gym.rewards.belief_requests import origin
from igpo_gym.scorers.interface import BeliefRequest, ask_readable
from igpo_gym.tools import search_call
from igpo_gym.tools.searching import SEARCH

if TYPE_CHECKING:
    from igpo_gym.envs.render import Picture

ActionMask: TypeAlias = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Menu:
    """What an agent sees of a moment, and what each of its actions means.

    With K slots there are 2K + 1 actions: 0 searches for the question as it stands, 1 to K for a candidate,
    K + 1 to 2K answer with a candidate.
    """

    question: str
    candidates: Candidates
    observation: Features
    """[K * len(CANDIDATE_FEATURES) + len(TURN_FEATURES)], each in [0, 1]: slot by slot, then the turn's."""
    action_mask: ActionMask
    """[2K + 1]: 1 for the actions that can help. The others name an empty slot, repeat a search, or search
    when only an answer can still be paid. At least one is 1."""

    def message(self, action: SupportsIndex, protocol: TextProtocol) -> str:
        """What the agent says by ``action``; empty, and so invalid, where its slot is empty.

        Raises TypeError for what is no integer, and ValueError for one that is no action.
        """
        try:
            action = operator.index(action)
        except TypeError:
            raise TypeError(f"an action is an integer, not {action!r}") from None
        slots = len(self.candidates.features)
        if not 0 <= action <= 2 * slots:
            raise ValueError(f"the actions are 0 to {2 * slots}, and {action} is none")
        if action == 0:
            return protocol.write(search_call(self.question))
        slot = (action - 1) % slots
        if slot >= len(self.candidates.names):
            return ""
        name = self.candidates.names[slot]
        return protocol.write(search_call(name) if action <= slots else Answer(name))


@dataclass(frozen=True, slots=True)
class MenuReader:
    """Turns running episodes into menus, with one call to the scorer for all of them."""

    engine: Engine
    slots: int
    """How many candidates there are room for, at least 1."""

    def __post_init__(self) -> None:
        if not isinstance(self.slots, int) or self.slots < 1:
            raise ValueError(f"slots must be a whole number of at least 1, not {self.slots!r}")
        if SEARCH.name not in (tool.spec.name for tool in self.engine.tools):
            raise SpecError("the actions of a discrete environment are searches: tools must have search")

    @property
    def observation_space(self) -> Space[Any]:
        """The space of the observations."""
        size = self.slots * len(CANDIDATE_FEATURES) + len(TURN_FEATURES)
        return Box(0.0, 1.0, (size,), np.float32)

    @property
    def action_space(self) -> Discrete[np.int64]:
        """The space of the actions."""
        return Discrete(2 * self.slots + 1)

    def read(self, episodes: Sequence[Episode]) -> list[Menu]:
        """A menu for each episode. The scorer is not asked about one that has terminated; what is learned of
        one that was truncated may begin at its last observation."""
        found = [
            candidates(episode.question.text, episode.turns, self.slots, self.engine.last_turn(episode))
            for episode in episodes
        ]
        if self.engine.scorer is not None:
            asked = [i for i, episode in enumerate(episodes) if not episode.terminated and found[i].names]
            # A belief holds the log-probability of each of its answers: here they are the candidates.
            requests = [
                BeliefRequest(
                    episodes[i].segments,
                    found[i].names,
                    self.engine.protocol.probe,
                    f"the candidates of {origin(episodes[i], len(episodes[i].turns))}",
                    aliases=False,
                )
                for i in asked
            ]
            for i, belief in zip(asked, ask_readable(self.engine.scorer, requests), strict=True):
                if belief is not None:  # a transcript that leaves no room for the longest name
                    probabilities = [math.exp(log_prob) for log_prob in belief.log_probs]
                    found[i] = found[i].with_probabilities(probabilities)
        return [self._menu(*pair) for pair in zip(episodes, found, strict=True)]

    def _menu(self, episode: Episode, found: Candidates) -> Menu:
        mask = np.zeros(2 * self.slots + 1, np.int8)
        count = len(found.names)
        mask[self.slots + 1 : self.slots + 1 + count] = 1
        if len(episode.turns) + 1 < self.engine.last_turn(episode):
            mask[0] = not found.question_searched
            mask[1 : count + 1] = [not searched for searched in found.searched]
        if not mask.any():
            mask[0] = 1
        observation = np.concatenate([found.features.ravel(), found.turn_features])
        return Menu(episode.question.text, found, observation, mask)


class _Underneath(WithoutCredentials):
    """A discrete environment, which is pickled as the text environment underneath is."""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"reader": self.__dict__["reader"].slots}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {"reader": MenuReader(state["text"].engine, state["reader"])})


class SearchQADiscreteEnv(_Underneath, gym.Env[Features, np.int64]):
    """:class:`~igpo_gym.envs.single.SearchQAEnv` with numbered actions and observations of a fixed size.

    ``info`` has two more entries: ``action_mask`` (see :class:`Menu`) and, with ``info="full"``,
    ``candidates``, the names in the slots. :meth:`action_masks` is the mask where stable-baselines3 looks for
    it.

    Args:
        slots: how many candidates there are room for.
        settings: the arguments of SearchQAEnv.

    >>> import gymnasium as gym, igpo_gym
    >>> env = gym.make("SearchQA-IGPO-Discrete-v0", questions="world#hops=1")
    >>> observation, info = env.reset(seed=0)
    >>> info["candidates"], observation.shape
    (('Bermus Institute',), (213,))
    >>> *_, info = env.step(1)
    >>> info["queries"], info["candidates"][:3]
    (('Bermus Institute',), ('Bermus Institute', 'Solvel Traltel', 'Zumror'))
    """

    metadata: ClassVar[dict[str, Any]] = SearchQAEnv.metadata  # type: ignore[misc]

    def __init__(self, slots: int = 16, **settings: Any) -> None:
        self.text = SearchQAEnv(**settings)
        """The text environment that plays underneath."""
        self.reader = MenuReader(self.text.engine, slots)
        self.render_mode = self.text.render_mode
        self.observation_space = self.reader.observation_space
        self.action_space = self.reader.action_space
        self.menu: Menu | None = None
        """What the latest observation was made of; None before the first reset."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Features, dict[str, Any]]:
        """Begin an episode, as the text environment does."""
        with self.text.undone_on_error():
            _, info = self.text.reset(seed=seed, options=options)
            observation, info = self._observe(info)
        super().reset(seed=seed)
        return observation, info

    def step(self, action: np.int64 | int) -> tuple[Features, float, bool, bool, dict[str, Any]]:
        """Play the message that ``action`` means.

        Raises TypeError and ValueError for what is no action, and ScoringError when the scorer fails, in the
        text environment or for the menu; the episode is then as it was before the step.
        """
        message = self._shown("step").message(action, self.reader.engine.protocol)
        with self.text.undone_on_error():
            _, reward, terminated, truncated, info = self.text.step(message)
            observation, info = self._observe(info)
        return observation, reward, terminated, truncated, info

    def fork(self) -> SearchQADiscreteEnv:
        """A second environment that goes on from here, as :meth:`SearchQAEnv.fork` gives one.

        >>> env = SearchQADiscreteEnv(questions="world:test", scorer=None, reward="outcome-f1")
        >>> _ = env.reset(seed=0)
        >>> other = env.fork()
        >>> other.step(1)[-1]["turn"], env.step(2)[-1]["turn"]
        (1, 1)
        """
        other = copy.copy(self)
        other.text = self.text.fork()
        other._np_random = copy.deepcopy(self._np_random)
        other.action_space = copy.deepcopy(self.action_space)
        return other

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Which actions can help in the running episode, shape ``(2 * slots + 1,)``."""
        return self._shown("action_masks").action_mask.astype(np.bool_)

    def render(self) -> str | Picture | None:
        """As the text environment renders."""
        return self.text.render()

    def _shown(self, method: str) -> Menu:
        if self.menu is None:
            raise ResetNeeded(f"call reset() before {method}()")
        return self.menu

    def _observe(self, info: dict[str, Any]) -> tuple[Features, dict[str, Any]]:
        assert self.text.episode is not None
        (self.menu,) = self.reader.read([self.text.episode])
        return self.menu.observation, info | _menu_info(self.menu, self.text.config)


class SearchQADiscreteVectorEnv(_Underneath, VectorEnv[Features, npt.NDArray[np.int64], npt.NDArray[Any]]):
    """Many of :class:`SearchQADiscreteEnv`, with one search call and two calls to the scorer a step.

    Args:
        num_envs: how many episodes run at a time.
        slots: how many candidates there are room for.
        settings: the other arguments of :class:`~igpo_gym.envs.vector.SearchQAVectorEnv`.

    >>> import gymnasium as gym, igpo_gym
    >>> envs = gym.make_vec("SearchQA-IGPO-Discrete-v0", num_envs=2, slots=8)
    >>> observations, infos = envs.reset(seed=0)
    >>> observations.shape, infos["action_mask"].shape
    ((2, 109), (2, 17))
    """

    def __init__(self, num_envs: int = 1, slots: int = 16, **settings: Any) -> None:
        self.text = SearchQAVectorEnv(num_envs, **settings)
        """The text environment that plays underneath."""
        self.reader = MenuReader(self.text.engine, slots)
        self.num_envs = num_envs
        self.render_mode = self.text.render_mode
        self.metadata = self.text.metadata
        self.autoreset_mode = self.text.autoreset_mode
        self.single_observation_space = self.reader.observation_space
        self.single_action_space = self.reader.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.menus: list[Menu] = []
        """What the latest observations were made of; empty before the first reset."""

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Features, dict[str, Any]]:
        """Begin episodes, as the text environment does."""
        with self.text.undone_on_error():
            _, infos = self.text.reset(seed=seed, options=options)
            self.menus = self.reader.read(self.text.episodes)
        return self._observations(), self._add_menus(infos, self.menus)

    def step(
        self, actions: npt.NDArray[np.int64] | Sequence[int]
    ) -> tuple[Features, npt.NDArray[np.float64], Mask, Mask, dict[str, Any]]:
        """Play in every environment; ``infos["final_obs"]`` holds features, as observations do.

        An environment that begins anew in this step ("NextStep") ignores its action. Raises ScoringError when
        the scorer fails, in the text environment or for a menu; all episodes are then as they were before.
        """
        menus = self._shown("step")
        if len(actions) != self.num_envs:
            raise ValueError(f"{len(actions)} actions for {self.num_envs} environments")
        protocol, played = self.reader.engine.protocol, list(self.text.episodes)
        messages = [
            "" if episode.done else menu.message(action, protocol)
            for episode, menu, action in zip(played, menus, actions, strict=True)
        ]
        with self.text.undone_on_error():
            _, rewards, terminations, truncations, infos = self.text.step(messages)
            menus = self.reader.read(self.text.episodes)
            ended = np.flatnonzero(infos.get("_final_obs", []))
            for index, menu in zip(ended, self.reader.read([played[i] for i in ended]), strict=True):
                infos["final_obs"][index] = menu.observation
                infos["final_info"] = self._add_info(
                    infos["final_info"], _menu_info(menu, self.text.config), int(index)
                )
        self.menus = menus
        return self._observations(), rewards, terminations, truncations, self._add_menus(infos, self.menus)

    def fork(self, source: int, place: int) -> tuple[Features, dict[str, Any]]:
        """Let an episode go on a second time, as :meth:`SearchQAVectorEnv.fork` does."""
        _, infos = self.text.fork(source, place)
        self.menus[place] = self.menus[source]
        return self._observations(), self._add_menus(infos, self.menus)

    def action_masks(self) -> Mask:
        """Which actions can help, shape ``(num_envs, 2 * slots + 1)``."""
        return np.stack([menu.action_mask for menu in self._shown("action_masks")]).astype(np.bool_)

    def render(self) -> tuple[str | Picture, ...] | None:
        """As the text environment renders."""
        return self.text.render()

    def _shown(self, method: str) -> list[Menu]:
        if not self.menus:
            raise ResetNeeded(f"call reset() before {method}()")
        return self.menus

    def _observations(self) -> Features:
        return np.stack([menu.observation for menu in self.menus])

    def _add_menus(self, infos: dict[str, Any], menus: Sequence[Menu]) -> dict[str, Any]:
        for index, menu in enumerate(menus):
            infos = self._add_info(infos, _menu_info(menu, self.text.config), index)
        return infos


def _menu_info(menu: Menu, config: EnvConfig) -> dict[str, Any]:
    told: dict[str, Any] = {"action_mask": menu.action_mask}
    return told if config.info == "metrics" else told | {"candidates": menu.candidates.names}
