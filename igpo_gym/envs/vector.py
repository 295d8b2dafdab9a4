"""The environment for many episodes at a time: one search call and one belief call a step for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from types import UnionType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from igpo_gym.config import EnvConfig, arguments, make_config, with_signature
from igpo_gym.envs.engine import Move, undone_on_error
from igpo_gym.envs.info import columns, episode_info
from igpo_gym.envs.questions import QuestionStream, forked_attempt, seeding, stream_seed
from igpo_gym.envs.rules import check_max_turns
from igpo_gym.envs.setup import Assembled, check_options
from igpo_gym.envs.single import check_render_mode
from igpo_gym.envs.spaces import UnicodeText
from igpo_gym.episode import Episode

if TYPE_CHECKING:
    from igpo_gym.envs.render import Picture

Mask = npt.NDArray[np.bool_]
Stepped = tuple[tuple[str, ...], npt.NDArray[np.float64], Mask, Mask, dict[str, Any]]


class SearchQAVectorEnv(Assembled, VectorEnv[tuple[str, ...], Sequence[str], npt.NDArray[Any]]):
    """``num_envs`` episodes of :class:`igpo_gym.envs.single.SearchQAEnv`, advanced together.

    It takes the arguments of the single environment, and two of its own. Environment ``i`` of a reset with
    seed ``s`` plays what the single environment plays after ``reset(seed=s + i)``. With ``group_size``, that
    many environments in a row share their questions: the n-th episode of each is on the same question (seeded
    by the group's first environment). It must divide ``num_envs``.

    Args:
        num_envs: how many episodes run at a time.
        autoreset_mode: Gymnasium's ``AutoresetMode`` or its value: "NextStep", "SameStep" or "Disabled".

    ``reset(options=...)`` takes ``question_id`` and ``max_turns`` (one for all, or a list with one, or None,
    for each environment) and ``reset_mask`` (a boolean array of shape ``(num_envs,)``: reset these, leave the
    others running). Observations of environments that a masked reset leaves running are their latest ones.

    >>> envs = SearchQAVectorEnv(2, questions="world:test", scorer=None, reward="outcome-f1")
    >>> prompts, infos = envs.reset(seed=0)
    >>> _, rewards, terminations, truncations, infos = envs.step(["<search>Salman</search>"] * 2)
    >>> rewards.tolist(), terminations.tolist()
    ([0.0, 0.0], [False, False])
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # type: ignore[misc]

    @with_signature(arguments(EnvConfig))
    def __init__(
        self,
        num_envs: int = 1,
        config: EnvConfig | Mapping[str, Any] | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        **settings: Any,
    ) -> None:
        self.config = config = make_config(config, settings)
        check_render_mode(config.render_mode, self.metadata)
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, not {num_envs}")
        if num_envs % config.group_size:
            raise ValueError(f"group_size must divide num_envs={num_envs}, and {config.group_size} does not")
        self.assemble()
        self.num_envs = num_envs
        self.render_mode = config.render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}  # type: ignore[misc]
        self.single_observation_space = UnicodeText()
        self.single_action_space = UnicodeText()
        self.episodes: list[Episode] = []
        """The running (or just ended) episode of each environment; empty before the first reset."""
        self._seeds: list[int] = []
        self._places = [0] * num_envs
        self._forked = 0
        """How often an episode was forked since all were reset."""

    # A loop of training asks for neither, and both hold a space with a generator for each environment.
    # Gymnasium declares attributes; the type checker takes no property in the place of one.
    @cached_property
    def observation_space(self) -> Space[Any]:  # type: ignore[override]
        """A tuple of texts."""
        return batch_space(self.single_observation_space, self.num_envs)

    @cached_property
    def action_space(self) -> Space[Any]:  # type: ignore[override]
        """A tuple of texts."""
        return batch_space(self.single_action_space, self.num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Begin an episode in every environment, or in those of ``options["reset_mask"]``.

        Whatever is raised, the environments are as if it had not been called.
        """
        chosen = check_options(options, ("question_id", "max_turns", "reset_mask"))
        mask = self._mask(chosen.get("reset_mask"))
        question_ids = self._each("question ids", chosen.get("question_id"), str)
        turns = self._each("max_turns", chosen.get("max_turns"), int | np.integer)
        seeds, places = self._seeds_and_places(seed, mask)
        fresh = self._begin(np.flatnonzero(mask).tolist(), seeds, places, question_ids)
        for index, episode in fresh.items():
            number = None if turns is None else turns[index]
            episode.max_turns = None if number is None else check_max_turns(number)
        facts = self.engine.facts()
        self.engine.start(list(fresh.values()))
        super().reset(seed=int(seed) if isinstance(seed, int | np.integer) else None)
        self._seeds, self._places = seeds, places
        self._forked = 0 if mask.all() else self._forked
        self._install(fresh)
        return self._observations(), columns(self._infos({}, fresh, facts), self.num_envs)

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
        resting = set(ended)
        playing = [index for index in range(self.num_envs) if index not in resting]
        moves = self.engine.play([self.episodes[i] for i in playing], [actions[i] for i in playing])
        facts = self.engine.facts()
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            ended = [index for index, move in zip(playing, moves, strict=True) if move.end is not None]
        fresh = self._begin(ended, self._seeds, self._places)
        with self.undone_on_error():
            earned = self.engine.apply(moves, list(fresh.values()))
            if self.autoreset_mode is AutoresetMode.SAME_STEP:
                # Which transcripts have become too long is known only now.
                late = [index for index in playing if self.episodes[index].done and index not in fresh]
                later = self._begin(late, self._seeds, self._places)
                self.engine.start(list(later.values()))
                fresh |= later
            return self._stepped(dict(zip(playing, moves, strict=True)), earned, fresh, facts)

    def fork(self, source: int, place: int) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Let the episode of environment ``source`` go on a second time, in ``place``, whose own has ended.

        The copy plays on independently, and has the number of a new attempt at the question. Returns what a
        reset of ``place`` alone returns. It needs ``autoreset_mode="Disabled"``: otherwise an environment
        begins the next episode of its own. Raises ResetNeeded before the first reset and for a ``source``
        that has ended, and ValueError for a ``place`` whose episode still runs, and in another mode.

        >>> envs = SearchQAVectorEnv(
        ...     2, questions="world:test", scorer=None, reward="outcome-f1", autoreset_mode="Disabled"
        ... )
        >>> _ = envs.reset(seed=0)
        >>> _ = envs.step(["<search>Salman</search>", "<answer>Danzig</answer>"])
        >>> replies, infos = envs.fork(0, 1)
        >>> replies[0] == replies[1], infos["turn"].tolist()
        (True, [0, 1])
        """
        if self.autoreset_mode is not AutoresetMode.DISABLED:
            raise ValueError(f'fork() needs autoreset_mode="Disabled", not "{self.autoreset_mode.value}"')
        for index in (source, place):
            if not 0 <= index < self.num_envs:
                raise ValueError(f"there is no environment {index}: they are 0 to {self.num_envs - 1}")
        if not self.episodes:
            raise ResetNeeded("call reset() before fork()")
        if not self.episodes[place].done:
            raise ValueError(f"the episode of environment {place} still runs: fork into one that has ended")
        branch = self.episodes[source]
        if branch.done:
            raise ResetNeeded(f"the episode of environment {source} has ended: fork it before its last step")
        facts = self.engine.facts()
        branch = branch.fork()
        self._forked += 1
        branch.attempt = forked_attempt(branch.attempt, self._forked, self.config.group_size)
        self.episodes[place] = branch
        return self._observations(), columns([(place, self._info(branch, facts))], self.num_envs)

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Whatever is raised within, the environments then go on from where they were before."""
        before = list(self.episodes), list(self._seeds), list(self._places), self._forked
        seeded = seeding(self)
        try:
            with undone_on_error(self.episodes):
                yield
        except BaseException:
            self.episodes, self._seeds, self._places, self._forked = before
            self._np_random, self._np_random_seed = seeded
            raise

    def render(self) -> tuple[str | Picture, ...] | None:
        """The dialogue of each environment so far: strings in mode "ansi", images in "rgb_array"."""
        if self.render_mode is None:
            return None
        from igpo_gym.envs.render import drawn

        return tuple(drawn(episode, self.render_mode) for episode in self.episodes)

    def _stepped(
        self,
        moves: dict[int, Move],
        earned: Sequence[float],
        fresh: dict[int, Episode],
        facts: Mapping[str, str | int],
    ) -> Stepped:
        """Gymnasium's five results, from what was played and which episodes begin."""
        rewards = np.zeros(self.num_envs, dtype=np.float64)
        terminations = np.zeros(self.num_envs, dtype=np.bool_)
        truncations = np.zeros(self.num_envs, dtype=np.bool_)
        played = list(moves)
        rewards[played] = earned
        terminations[played] = [move.episode.terminated for move in moves.values()]
        truncations[played] = [move.episode.truncated for move in moves.values()]
        infos = columns(self._infos(moves, fresh, facts), self.num_envs)
        self._install(fresh)
        return self._observations(), rewards, terminations, truncations, infos

    def _infos(
        self, moves: Mapping[int, Move], fresh: Mapping[int, Episode], facts: Mapping[str, str | int]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """What is told of each environment, by its index."""
        for index, move in moves.items():
            info = self._info(move.episode, facts)
            if index in fresh:
                final = {"final_obs": move.turn.observation, "final_info": info}
                info = final | self._info(fresh[index], facts)
            yield index, info
        for index, episode in fresh.items():
            if index not in moves:
                yield index, self._info(episode, facts)

    def _info(self, episode: Episode, facts: Mapping[str, str | int]) -> dict[str, Any]:
        return episode_info(episode, self.config.oracle_info, facts, self.config.info)

    def _observations(self) -> tuple[str, ...]:
        return tuple(
            episode.turns[-1].observation if episode.turns else episode.prompt_text
            for episode in self.episodes
        )

    def _begin(
        self,
        indices: Sequence[int],
        seeds: Sequence[int],
        places: Sequence[int],
        chosen: Sequence[str | None] | None = None,
    ) -> dict[int, Episode]:
        """New episodes for these environments, by index; not installed, so that a failure changes nothing."""
        questions = []
        for index in indices:
            wanted = None if chosen is None else chosen[index]
            leader = index - index % self.config.group_size
            stream = QuestionStream(self.questions.questions, seeds[leader], order=self.config.order)
            questions.append(stream[places[index]] if wanted is None else self.questions.find(wanted))
        episodes = self.engine.begin(questions, [index % self.config.group_size for index in indices])
        return dict(zip(indices, episodes, strict=True))

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
        self, seed: int | np.integer[Any] | Sequence[int | None] | None, mask: Mask
    ) -> tuple[list[int], list[int]]:
        """Each environment's seed and place in its question stream, as a reset of ``mask`` makes them.

        A group whose first environment is given a seed goes to the start of its stream. In a full reset the
        members of any other, which may have played unlike numbers of episodes, go to one place again.
        """
        size, places = self.config.group_size, list(self._places)
        seeds = list(self._seeds) or [stream_seed(self) + index for index in range(self.num_envs)]
        given, whole = self._given_seeds(seed, mask), bool(mask.all())
        for leader in range(0, self.num_envs, size):
            group = slice(leader, leader + size)
            if given[leader] is not None and mask[leader]:
                pairs = zip(given[group], seeds[group], strict=True)
                seeds[group] = [known if new is None else new for new, known in pairs]
                places[group] = [0] * size
            elif whole:
                places[group] = [max(places[group])] * size
        return seeds, places

    def _given_seeds(
        self, seed: int | np.integer[Any] | Sequence[int | None] | None, mask: Mask
    ) -> list[int | None]:
        """The seed, or None, that a reset of ``mask`` gives each environment. Raises ValueError for a wrong
        one."""
        if seed is None:
            return [None] * self.num_envs
        given: list[int | None]
        if isinstance(seed, int | np.integer):
            given = [int(seed) + index for index in range(self.num_envs)]
        else:
            given = list(seed)
        if len(given) != self.num_envs:
            raise ValueError(f"{len(given)} seeds for {self.num_envs} environments")
        size = self.config.group_size
        groups = mask.reshape(-1, size)
        if (groups.any(1) != groups.all(1)).any():
            raise ValueError("a seeded reset must reset whole groups: their environments share one seed")
        for index in np.flatnonzero(mask).tolist():
            chosen, leader = given[index], index - index % size
            if chosen is not None and chosen < 0:
                raise ValueError(f"a seed must not be negative: {chosen}")
            if chosen is not None and given[leader] is None:
                raise ValueError(
                    f"environment {index} is given a seed, but environment {leader}, whose seed is that of "
                    "their group, is given none"
                )
        return given

    def _each(self, what: str, given: Any, kind: type | UnionType) -> list[Any] | None:
        """An option of a reset for each environment, from one for all or a sequence; None where not given."""
        if given is None or isinstance(given, kind):
            return None if given is None else [given] * self.num_envs
        if not isinstance(given, Sequence | np.ndarray):
            raise TypeError(f"{what}: one for all environments, or a list with one for each, not {given!r}")
        if len(given) != self.num_envs:
            raise ValueError(f"{len(given)} {what} for {self.num_envs} environments")
        return list(given)
