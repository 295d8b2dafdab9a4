"""The environment for one episode at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium as gym
from gymnasium.error import ResetNeeded

from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs.engine import undone_on_error
from igpo_gym.envs.info import episode_info
from igpo_gym.envs.setup import (
    QuestionBook,
    QuestionStream,
    WithoutCredentials,
    assemble,
    check_options,
    stream_seed,
)
from igpo_gym.envs.spaces import UnicodeText
from igpo_gym.episode import Episode, Question
from igpo_gym.protocols import TextProtocol
from igpo_gym.rewards import RewardFunction
from igpo_gym.scorers.interface import AnswerScorer
from igpo_gym.search.interface import Retriever

if TYPE_CHECKING:
    from igpo_gym.lm.policy import Policy


class SearchQAEnv(WithoutCredentials, gym.Env[str, str]):
    """Multi-turn search question answering in text.

    An action is the agent's message, an observation the prompt (after ``reset``) or the environment's reply.
    An answer terminates the episode; running out of turns truncates it.

    Args:
        questions: ``"world"``, ``"hotpotqa:FILE"``, ``"jsonl:FILE"``, a QuestionSet, or Question objects.
        search: None for BM25 over the questions' own passages, ``"bm25:INDEX"``, or a Retriever.
        scorer: ``"nano"`` (ships with the package), a model's hub name, folder or GGUF file, an AnswerScorer,
            or None for no beliefs.
        reward: a preset, a term or a weighted sum of such (``igpo-gym rewards`` lists them), or a
            RewardFunction.
        protocol: ``"tags"``, ``"tool_call"``, or a TextProtocol.
        max_turns: messages the agent may write.
        top_k: passages a query brings.
        group_size: how many episodes in a row are on the same question.
        oracle_info: whether ``info["gold"]`` holds the gold answers and evidence.
        render_mode: ``"ansi"`` (``render`` returns a string), ``"human"`` (prints after every step), or None.
        reference: for rewards that need one, a frozen model, given as ``scorer`` is; by default the scorer,
            if that is a packaged model.
        policy: for rewards that need one, the policy whose completions are sampled, or its spec.

    ``reset(options={"question_id": ...})`` chooses the question. ``info`` is described at
    :func:`igpo_gym.envs.info.episode_info`.

    Raises:
        ValueError: for a name or value that is not known; the message lists the right ones.
        TypeError: from ``step``, for an action that is not a string.
        ResetNeeded: from ``step``, before a reset or after the end.
        ScoringError: from ``reset`` and ``step``, when the scorer fails; the episode is as it was before.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi", "human"], "render_fps": 4}  # type: ignore[misc]

    def __init__(
        self,
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
        reference: str | AnswerScorer | None = None,
        policy: str | Policy | None = None,
    ) -> None:
        check_render_mode(render_mode, self.metadata)
        if group_size < 1:
            raise ValueError(f"group_size must be at least 1, not {group_size}")
        question_set, self.engine = assemble(
            questions, search, scorer, reward, protocol, max_turns, top_k, reference, policy
        )
        self.questions = QuestionBook(question_set)
        self.group_size = group_size
        self.oracle_info = oracle_info
        self.render_mode = render_mode
        self.observation_space = UnicodeText()
        self.action_space = UnicodeText()
        self.episode: Episode | None = None
        self._place = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin an episode on the next question of the seed's sequence, or on ``options["question_id"]``."""
        chosen = check_options(options, ("question_id",)).get("question_id")
        found = None if chosen is None else self.questions.find(chosen)
        super().reset(seed=seed)
        place = self._place if seed is None else 0
        stream = QuestionStream(self.questions.questions, stream_seed(self), self.group_size)
        (episode,) = self.engine.begin([found or stream[place]], [place % self.group_size])
        self.engine.settle([], [episode])
        self.episode, self._place = episode, place + 1
        self._show()
        return episode.prompt, episode_info(episode, self.oracle_info)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play one message."""
        episode = self.episode
        if episode is None or episode.done:
            raise ResetNeeded("call reset() before step(): there is no running episode")
        (reward,) = self.engine.settle(self.engine.play([episode], [action]))
        self._show()
        info = episode_info(episode, self.oracle_info)
        return episode.turns[-1].observation, reward, episode.terminated, episode.truncated, info

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Whatever is raised within, the environment then goes on from where it was before."""
        before = self.episode, self._place
        try:
            with undone_on_error([self.episode] if self.episode else []):
                yield
        except BaseException:
            self.episode, self._place = before
            raise

    def render(self) -> str | None:
        """The dialogue so far as a string, in mode "ansi"; mode "human" prints it unasked."""
        if self.render_mode != "ansi" or self.episode is None:
            return None
        from igpo_gym.envs.render import ansi

        return ansi(self.episode)

    def _show(self) -> None:
        if self.render_mode == "human" and self.episode is not None:
            from rich.console import Console

            from igpo_gym.envs.render import moment

            Console().print(moment(self.episode, len(self.episode.turns)))


def check_render_mode(render_mode: str | None, metadata: dict[str, Any]) -> None:
    """Raise ValueError for a render mode that the metadata does not list."""
    if render_mode is not None and render_mode not in metadata["render_modes"]:
        known = ", ".join(metadata["render_modes"])
        raise ValueError(f"unknown render_mode {render_mode!r}; choose one of: {known}, or None")
