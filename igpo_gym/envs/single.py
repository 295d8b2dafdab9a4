"""The environment for one episode at a time."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium as gym
from gymnasium.error import ResetNeeded

from igpo_gym.config import EnvConfig, arguments, make_config, with_signature
from igpo_gym.envs.engine import undone_on_error
from igpo_gym.envs.info import episode_info
from igpo_gym.envs.questions import QuestionStream, forked_attempt, seeding, stream_seed
from igpo_gym.envs.rules import check_max_turns
from igpo_gym.envs.setup import Assembled, check_options
from igpo_gym.envs.spaces import UnicodeText
from igpo_gym.episode import Episode
from igpo_gym.errors import check_known

if TYPE_CHECKING:
    from igpo_gym.envs.render import Picture

logger = logging.getLogger(__name__)


class SearchQAEnv(Assembled, gym.Env[str, str]):
    """Multi-turn search question answering in text.

    An action is the agent's message, an observation the prompt (after ``reset``) or the environment's reply.
    An answer terminates the episode; running out of turns truncates it.

    The arguments are the fields of :class:`igpo_gym.config.EnvConfig`, or such a configuration and what is to
    differ from it.

    ``reset(options={"question_id": ..., "max_turns": ...})`` chooses the question and the number of turns of
    this episode. ``info`` is described at :func:`igpo_gym.envs.info.episode_info`.

    >>> env = SearchQAEnv(questions="world:test", scorer=None, reward="outcome-f1")
    >>> prompt, info = env.reset(seed=0)
    >>> reply, reward, terminated, truncated, info = env.step("<search>Salman</search>")
    >>> reward, terminated, truncated, len(info["passage_ids"])
    (0.0, False, False, 3)

    Raises:
        ValueError: for a name or value that is not known; the message lists the right ones.
        TypeError: for an argument that is not known, and from ``step`` for an action that is not a string.
        ResetNeeded: from ``step``, before a reset or after the end.
        ScoringError: from ``reset`` and ``step``, when the scorer fails; the episode is as it was before.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi", "human", "rgb_array"], "render_fps": 4}  # type: ignore[misc]

    @with_signature(arguments(EnvConfig))
    def __init__(self, config: EnvConfig | Mapping[str, Any] | None = None, **settings: Any) -> None:
        self.config = config = make_config(config, settings)
        check_render_mode(config.render_mode, self.metadata)
        self.assemble()
        self.render_mode = config.render_mode
        self.observation_space = UnicodeText()
        self.action_space = UnicodeText()
        self.episode: Episode | None = None
        """The running, or just ended, episode."""
        self._place = 0
        self._forked = [0]
        """How often the episode was forked, by itself and by its forks, which hold this list as well."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin an episode on the next question of the seed's sequence, or on ``options["question_id"]``.

        Whatever is raised, the environment is as if it had not been called.
        """
        episode, place = self.opened(seed, options)
        facts = self.engine.facts()
        self.engine.start([episode])
        self.install(episode, place, seed)
        return episode.prompt_text, self.tell(episode, facts)

    def opened(self, seed: int | None, options: Mapping[str, Any] | None) -> tuple[Episode, int]:
        """The episode that a reset begins, without its first belief, and the place of the one behind it."""
        chosen = check_options(options, ("question_id", "max_turns"))
        question_id, max_turns = chosen.get("question_id"), chosen.get("max_turns")
        if max_turns is not None:
            max_turns = check_max_turns(max_turns)
        found = None if question_id is None else self.questions.find(question_id)
        place, size = self._place if seed is None else 0, self.config.group_size
        start = stream_seed(self) if seed is None else seed
        if start < 0:
            raise ValueError(f"a seed must not be negative: {start}")
        stream = QuestionStream(self.questions.questions, start, size, self.config.order)
        (episode,) = self.engine.begin([found or stream[place]], [place % size])
        episode.max_turns = max_turns
        return episode, place + 1

    def install(self, episode: Episode, place: int, seed: int | None) -> None:
        """Make an episode from :meth:`opened` the running one."""
        super().reset(seed=seed)
        self.episode, self._place, self._forked = episode, place, [0]
        if self.render_mode == "human":
            self._show()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play one message."""
        episode = self.running()
        moves = self.engine.play([episode], [action])
        facts = self.engine.facts()  # a retriever that raises here has not yet changed the episode
        (reward,) = self.engine.settle(moves)
        return self.stepped(episode, reward, facts)

    def running(self) -> Episode:
        """The running episode. Raises ResetNeeded where there is none."""
        if self.episode is None or self.episode.done:
            raise ResetNeeded("call reset() before step(): there is no running episode")
        return self.episode

    def stepped(
        self, episode: Episode, reward: float, facts: Mapping[str, str | int]
    ) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """What a step tells when its turn is settled."""
        if self.render_mode == "human":
            self._show()
        info = self.tell(episode, facts)
        return episode.turns[-1].observation, reward, episode.terminated, episode.truncated, info

    def fork(self) -> SearchQAEnv:
        """A second environment that goes on from here; both share questions, tools and models.

        What one of them plays leaves the other as it is. Its episode has the number of a new attempt at the
        question, so that a policy that draws by it says something else. Raises ResetNeeded for an episode
        that has ended, from which nothing goes on.

        >>> env = SearchQAEnv(questions="world:test", scorer=None, reward="outcome-f1")
        >>> _ = env.reset(seed=0)
        >>> other = env.fork()
        >>> _ = other.step("<answer>Danzig</answer>")
        >>> other.episode.done, env.episode.done
        (True, False)
        """
        if self.episode is not None and self.episode.done:
            raise ResetNeeded(f"the episode has ended ({self.episode.end}): fork() before its last step")
        other = copy.copy(self)
        if self.episode is not None:
            other.episode = self.episode.fork()
            self._forked[0] += 1
            size = self.config.group_size
            other.episode.attempt = forked_attempt(self.episode.attempt, self._forked[0], size)
        other._np_random = copy.deepcopy(self._np_random)
        other.action_space = copy.deepcopy(self.action_space)
        return other

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Whatever is raised within, the environment then goes on from where it was before."""
        before = self.episode, self._place, self._forked
        seeded = seeding(self)
        try:
            with undone_on_error([self.episode] if self.episode else []):
                yield
        except BaseException:
            self.episode, self._place, self._forked = before
            self._np_random, self._np_random_seed = seeded
            raise

    def render(self) -> str | Picture | None:
        """The dialogue so far: a string in mode "ansi", an image in "rgb_array". "human" prints unasked."""
        if self.render_mode in (None, "human") or self.episode is None:
            return None
        from igpo_gym.envs.render import drawn

        return drawn(self.episode, self.render_mode)

    def tell(self, episode: Episode, facts: Mapping[str, str | int]) -> dict[str, Any]:
        """What is told about an episode as it stands."""
        return episode_info(episode, self.config.oracle_info, facts, self.config.info)

    def _show(self) -> None:
        from igpo_gym.envs.render import Screen, moment

        assert self.episode is not None
        try:
            Screen().print(moment(self.episode, len(self.episode.turns)))
        except (OSError, ValueError) as problem:  # a closed terminal, or one that cannot show the text
            logger.warning("the episode cannot be shown: %s", problem)


def check_render_mode(render_mode: str | None, metadata: dict[str, Any]) -> None:
    """Raise ValueError for a render mode that the metadata does not list."""
    check_known(render_mode, (*metadata["render_modes"], None), "render_mode")
