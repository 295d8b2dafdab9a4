"""The environment for many episodes at a time: one search call and one belief call a step for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs.engine import Move, undone_on_error
from igpo_gym.envs.info import episode_info
from igpo_gym.envs.setup import (
    QuestionBook,
    QuestionStream,
    WithoutCredentials,
    assemble,
    check_options,
    stream_seed,
)
from igpo_gym.envs.single import check_render_mode
from igpo_gym.envs.spaces import UnicodeText
from igpo_gym.episode import Episode, Question
from igpo_gym.protocols import TextProtocol
from igpo_gym.rewards import RewardFunction
from igpo_gym.scorers.interface import AnswerScorer
from igpo_gym.search.interface import Retriever

if TYPE_CHECKING:
    from igpo_gym.lm.policy import Policy

Mask = npt.NDArray[np.bool_]
Stepped = tuple[tuple[str, ...], npt.NDArray[np.float64], Mask, Mask, dict[str, Any]]


class SearchQAVectorEnv(WithoutCredentials, VectorEnv[tuple[str, ...], Sequence[str], npt.NDArray[Any]]):
    """``num_envs`` episodes of :class:`igpo_gym.envs.single.SearchQAEnv`, advanced together.

    It takes the arguments of the single environment, and two of its own. Environment ``i`` of a reset with
    seed ``s`` plays what the single environment plays after ``reset(seed=s + i)``.

    Args:
        num_envs: how many episodes run at a time.
        group_size: how many environments in a row share their questions: the n-th episode of each is on the
            same question (seeded by the group's first environment). Must divide ``num_envs``.
        autoreset_mode: Gymnasium's ``AutoresetMode`` or its value: "NextStep", "SameStep" or "Disabled".

    ``reset(options=...)`` takes ``question_id`` (one id for all, or a list of one id or None per environment)
    and ``reset_mask`` (a boolean array of shape ``(num_envs,)``: reset these, leave the others running).
    Observations of environments that a masked reset leaves running are their latest ones.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"], "render_fps": 4}  # type: ignore[misc]

    def __init__(
        self,
        num_envs: int = 1,
        questions: str | QuestionSet | Sequence[Question] = "world",
        search: str | Retriever | None = None,
        scorer: str | AnswerScorer | None = "nano",
        reward: str | RewardFunction = "igpo",
        protocol: str | TextProtocol = "tags",
        max_turns: int = 6,
        top_k: int = 3,
        group_size: int = 1,
        oracle_info: bool = False,
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        reference: str | AnswerScorer | None = None,
        policy: str | Policy | None = None,
    ) -> None:
        check_render_mode(render_mode, self.metadata)
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, not {num_envs}")
        if group_size < 1 or num_envs % group_size:
            raise ValueError(f"group_size must divide num_envs={num_envs}, and {group_size} does not")
        question_set, self.engine = assemble(
            questions, search, scorer, reward, protocol, max_turns, top_k, reference, policy
        )
        self.questions = QuestionBook(question_set)
        self.num_envs = num_envs
        self.group_size = group_size
        self.oracle_info = oracle_info
        self.render_mode = render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}  # type: ignore[misc]
        self.single_observation_space = UnicodeText()
        self.single_action_space = UnicodeText()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.episodes: list[Episode] = []
        """The running (or just ended) episode of each environment; empty before the first reset."""
        self._seeds: list[int] = []
        self._places = [0] * num_envs

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Begin an episode in every environment, or in those of ``options["reset_mask"]``."""
        options = check_options(options, ("question_id", "reset_mask"))
        mask = self._mask(options.get("reset_mask"))
        chosen = self._chosen(options.get("question_id"))
        seeds, places = self._seeds_and_places(seed, mask)
        fresh = self._begin(np.flatnonzero(mask), seeds, places, chosen)
        self.engine.settle([], list(fresh.values()))
        self._seeds, self._places = seeds, places
        self._install(fresh)
        infos: dict[str, Any] = {}
        for index, episode in fresh.items():
            infos = self._add_info(infos, episode_info(episode, self.oracle_info), index)
        return self._observations(), infos

    def step(self, actions: Sequence[str]) -> Stepped:
        """Play one message in every environment.

        After the end of an episode its environment begins the next one: in the following step, whose action
        it ignores ("NextStep"); at once, with the end in ``infos["final_obs"]`` and ``infos["final_info"]``
        ("SameStep"); or never, so that it must be reset with a ``reset_mask`` ("Disabled").

        Raises ScoringError when the scorer fails; all episodes are then as they were before the step.
        """
        if isinstance(actions, str):
            raise TypeError(
                f"actions are a sequence of texts, one an environment, not one text: {actions!r:.80}"
            )
        if len(actions) != self.num_envs:
            raise ValueError(f"{len(actions)} actions for {self.num_envs} environments")
        if not self.episodes:
            raise ResetNeeded("call reset() before step()")
        ended = [index for index, episode in enumerate(self.episodes) if episode.done]
        if ended and self.autoreset_mode is not AutoresetMode.NEXT_STEP:
            raise ResetNeeded(
                f"environments {ended} have ended: reset them with options={{'reset_mask': ...}}"
            )
        playing = [index for index in range(self.num_envs) if index not in set(ended)]
        moves = self.engine.play([self.episodes[i] for i in playing], [actions[i] for i in playing])
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            ended = [index for index, move in zip(playing, moves, strict=True) if move.ends]
        fresh = self._begin(ended, self._seeds, self._places)
        with self.undone_on_error():
            earned = self.engine.settle(moves, list(fresh.values()))
            if self.autoreset_mode is AutoresetMode.SAME_STEP:
                # Which transcripts have become too long is known only now.
                late = [index for index in playing if self.episodes[index].done and index not in fresh]
                later = self._begin(late, self._seeds, self._places)
                self.engine.settle([], list(later.values()))
                fresh |= later
            return self._stepped(dict(zip(playing, zip(moves, earned, strict=True), strict=True)), fresh)

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Whatever is raised within, the environments then go on from where they were before."""
        before = list(self.episodes), list(self._seeds), list(self._places)
        try:
            with undone_on_error(self.episodes):
                yield
        except BaseException:
            self.episodes, self._seeds, self._places = before
            raise

    def render(self) -> tuple[str, ...] | None:
        """The dialogue of each environment so far, in mode "ansi"."""
        if self.render_mode is None:
            return None
        from igpo_gym.envs.render import ansi

        return tuple(ansi(episode) for episode in self.episodes)

    def _stepped(self, played: dict[int, tuple[Move, float]], fresh: dict[int, Episode]) -> Stepped:
        """Gymnasium's five results, from what was played and which episodes begin."""
        rewards = np.zeros(self.num_envs, dtype=np.float64)
        terminations = np.zeros(self.num_envs, dtype=np.bool_)
        truncations = np.zeros(self.num_envs, dtype=np.bool_)
        infos: dict[str, Any] = {}
        for index, (move, reward) in played.items():
            rewards[index] = reward
            terminations[index] = move.episode.terminated
            truncations[index] = move.episode.truncated
            info = episode_info(move.episode, self.oracle_info)
            if index in fresh:
                info = {"final_obs": move.turn.observation, "final_info": info}
            infos = self._add_info(infos, info, index)
        for index, episode in fresh.items():
            infos = self._add_info(infos, episode_info(episode, self.oracle_info), index)
        self._install(fresh)
        return self._observations(), rewards, terminations, truncations, infos

    def _observations(self) -> tuple[str, ...]:
        return tuple(
            episode.turns[-1].observation if episode.turns else episode.prompt for episode in self.episodes
        )

    def _begin(
        self,
        indices: Sequence[int] | npt.NDArray[Any],
        seeds: Sequence[int],
        places: Sequence[int],
        chosen: Sequence[str | None] | None = None,
    ) -> dict[int, Episode]:
        """New episodes for these environments, by index; not installed, so that a failure changes nothing."""
        questions = []
        for index in indices:
            wanted = None if chosen is None else chosen[index]
            leader = index - index % self.group_size
            stream = QuestionStream(self.questions.questions, seeds[leader])
            questions.append(stream[places[index]] if wanted is None else self.questions.find(wanted))
        episodes = self.engine.begin(questions, [int(index) % self.group_size for index in indices])
        return {int(index): episode for index, episode in zip(indices, episodes, strict=True)}

    def _install(self, fresh: dict[int, Episode]) -> None:
        if not self.episodes:
            self.episodes = [fresh[index] for index in range(self.num_envs)]
        for index, episode in fresh.items():
            self.episodes[index] = episode
            self._places[index] += 1

    def _mask(self, reset_mask: Any) -> Mask:
        if reset_mask is None:
            return np.ones(self.num_envs, dtype=np.bool_)
        if not isinstance(reset_mask, np.ndarray) or reset_mask.dtype != np.bool_:
            raise TypeError(f"reset_mask must be a numpy array of booleans, not {reset_mask!r}")
        if reset_mask.shape != (self.num_envs,) or not reset_mask.any():
            raise ValueError(
                f"reset_mask must have the shape ({self.num_envs},) and a True, not {reset_mask}"
            )
        if not self.episodes and not reset_mask.all():
            raise ResetNeeded("the first reset must reset all environments")
        return reset_mask

    def _seeds_and_places(
        self, seed: int | Sequence[int | None] | None, mask: Mask
    ) -> tuple[list[int], list[int]]:
        """Each environment's seed and place in its question stream, as a reset of ``mask`` makes them.

        Seeded environments go to the start of their streams. A full reset without a seed takes the members of
        each group, which may have played unlike numbers of episodes, to one place again.
        """
        size, places = self.group_size, list(self._places)
        super().reset(seed=seed if isinstance(seed, int) else None)
        seeds = self._seeds or [stream_seed(self) + index for index in range(self.num_envs)]
        if seed is None:
            if mask.all():
                leaders = range(0, self.num_envs, size)
                places = [max(places[leader : leader + size]) for leader in leaders for _ in range(size)]
            return list(seeds), places
        given = [seed + index for index in range(self.num_envs)] if isinstance(seed, int) else list(seed)
        if len(given) != self.num_envs:
            raise ValueError(f"{len(given)} seeds for {self.num_envs} environments")
        groups = mask.reshape(-1, size)
        if (groups.any(1) != groups.all(1)).any():
            raise ValueError("a seeded reset must reset whole groups: their environments share one seed")
        seeds = list(seeds)
        for index in np.flatnonzero(mask):
            chosen = given[int(index)]
            if chosen is None:
                continue
            if chosen < 0:
                raise ValueError(f"a seed must not be negative: {chosen}")
            seeds[index], places[index] = chosen, 0
        return seeds, places

    def _chosen(self, question_id: str | Sequence[str | None] | None) -> list[str | None] | None:
        if question_id is None or isinstance(question_id, str):
            return None if question_id is None else [question_id] * self.num_envs
        if len(question_id) != self.num_envs:
            raise ValueError(f"{len(question_id)} question ids for {self.num_envs} environments")
        return list(question_id)
