"""Episodes as TRL's environments are: their public methods are tools, and at the end they are priced."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from igpo_gym.adapters.trl.policy import PolicyScorer, with_policy
from igpo_gym.adapters.trl.records import Records
from igpo_gym.adapters.trl.rows import attempts
from igpo_gym.adapters.trl.schemas import as_method
from igpo_gym.adapters.trl.transcripts import Conversation, Verbatim, moves, with_prompt_ids
from igpo_gym.config import make_config
from igpo_gym.envs.engine import Engine, Move
from igpo_gym.envs.questions import QuestionBook
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import EndReason, Episode, Invalid, Segment, Turn
from igpo_gym.errors import SpecError
from igpo_gym.protocols import NATIVE, native_message
from igpo_gym.protocols.native import ANSWER
from igpo_gym.tools.interface import ToolSpec

if TYPE_CHECKING:
    from trl import GRPOTrainer

logger = logging.getLogger(__name__)

OVER = {
    EndReason.ANSWERED: "The answer is given and the episode is over: nothing more is read.",
    EndReason.TURNS_EXHAUSTED: "All turns are used and the episode is over: nothing more is read.",
    EndReason.INVALID_MESSAGE: "The call was not valid and the episode is over: nothing more is read.",
}
"""What the call is told that ended the episode, where no result says more, and each call after it."""


class SearchQA:
    """An episode. TRL calls ``reset``, the tools (methods of the subclass that :class:`Environments` makes),
    and ``get_reward``, once, after the conversation.

    A call is played at once; beliefs are asked, and turns priced, when the conversation has ended, for all of
    a batch together. What fails while a call is played is raised by ``get_reward``: TRL would tell it to the
    model and go on.
    """

    def __init__(self, family: Environments) -> None:
        self._family = family
        self._running: Episode | None = None
        self._plays: list[Move] = []
        self._failure: BaseException | None = None
        self._episode: Episode | None = None

    def reset(self, question_id: str, **columns: Any) -> None:
        """Begin an episode on the row's question; the row's prompt holds the question already."""
        (self._running,) = self._family.engine.begin([self._family.questions.find(question_id)])
        self._plays, self._failure, self._episode = [], None, None

    def get_reward(self) -> float:
        """The sum of the turns' rewards."""
        self._family.conclude()
        return sum(self.rewards)

    @property
    def played(self) -> Episode:
        """What the calls have played so far. Raises ValueError before a reset."""
        if self._running is None:
            raise ValueError("call reset() first: there is no episode")
        return self._running

    @property
    def episode(self) -> Episode | None:
        """The episode, once it has ended and is priced."""
        return self._episode

    @property
    def rewards(self) -> list[float]:
        """The reward of every turn, once the episode is priced."""
        return [] if self._episode is None else self._episode.turn_rewards

    def _play(self, tool: str, arguments: dict[str, Any]) -> str:
        """Play a call, and return what the tool replies."""
        episode, engine, number = self.played, self._family.engine, self._family.message
        if number is not None:  # calls of one message have as many turns behind them as the message has
            episode.max_turns = engine.rules.max_turns - number + len(episode.turns) + 1
            if not episode.done and number > engine.rules.last_turn:
                episode.end = EndReason.TURNS_EXHAUSTED
        if not episode.done:
            try:
                (move,) = engine.play([episode], [native_message(engine.protocol, [(tool, arguments)])])
            except BaseException as failure:
                self._failure = failure
                raise
            ends = number is None or move.end is not EndReason.TURNS_EXHAUSTED
            episode.append(move.turn, move.end if ends else None)
            self._plays.append(move)
            if move.turn.observation:
                return engine.protocol.body(move.turn.observation)
        assert episode.end is not None
        return OVER[episode.end]


class Environments:
    """What ``GRPOTrainer(environment_factory=...)`` takes: makes environments that share index and scorer.

    The environments offer the tools that ``tools`` names, and ``answer``. ``settings`` are the arguments of
    :class:`SearchQAEnv`; the protocol is ``NATIVE`` unless given, and ``scorer="policy"`` is the model in
    training. ``records`` is a folder for the episodes as records (see :mod:`igpo_gym.adapters.trl.records`),
    which :class:`TurnGRPOTrainer` writes. Raises SpecError for a tool whose name TRL uses itself.

    >>> environments = Environments(questions="world#documents=60,questions=10", scorer=None, reward="f1")
    >>> env = environments()
    >>> env.reset(question_id=environments.questions.questions[0].id)
    >>> env.answer(answer="Danzig")
    'The answer is given and the episode is over: nothing more is read.'
    >>> env.get_reward(), env.episode.end.value
    (0.0, 'answered')
    """

    def __init__(self, *, records: str | Path | None = None, **settings: Any) -> None:
        self.records = None if records is None else Records(records)
        config = make_config(None, with_policy({"protocol": NATIVE, **settings}))
        questions, engine = assemble(config)
        self.questions = QuestionBook(questions)
        self.engine: Engine = replace(engine, measure="end")
        """The rules that all of them play by."""
        self.message: int | None = None
        """The number of the message whose calls are played, from 1, as :class:`TurnGRPOTrainer` tells it.
        None where nobody does: then each call is a turn."""
        self._made: list[SearchQA] = []
        self._kind = _environment([*self.engine.protocol.tools, ANSWER])
        self._warned = False

    def __call__(self) -> SearchQA:
        """An environment that has not been reset."""
        self._made.append(self._kind(self))
        return self._made[-1]

    @property
    def tools(self) -> tuple[str, ...]:
        """The names of the tools that a model can call."""
        return (*(tool.name for tool in self.engine.protocol.tools), ANSWER.name)

    def bind(self, trainer: GRPOTrainer) -> None:
        """Let the scorer be the model that this trainer trains, where the settings say so."""
        if isinstance(self.engine.scorer, PolicyScorer):
            self.engine.scorer.bind(trainer)

    def conclude(self) -> None:
        """End and price all episodes whose conversations are over, by the calls alone.

        This is all that TRL tells an environment: what the model wrote beside its calls is not in the
        transcript, and each call is a turn. :class:`TurnGRPOTrainer` has the conversations, and gives them to
        :meth:`conclude_with`.
        """
        waiting = [env for env in self._made if env._running is not None and env._episode is None]
        if waiting and not self._warned:
            self._warned = True
            logger.warning(
                "beliefs are of calls and results alone, without what the model writes beside its calls: "
                "TurnGRPOTrainer scores conversations as they stand"
            )
        episodes = [env.played for env in waiting]
        for episode in episodes:
            if not episode.done:
                said = Segment("agent", "assistant", "")
                turn = Turn("", Invalid("the conversation ended without an answer"), (said,))
                episode.append(turn, EndReason.INVALID_MESSAGE)
        self._price(waiting, episodes)

    def conclude_with(
        self,
        environments: Sequence[SearchQA],
        conversations: Sequence[Conversation],
        framing: Verbatim,
        weights: str = "",
    ) -> list[int]:
        """End and price episodes as their conversations stand, thoughts and token ids included.

        ``weights`` is the version of the model that played them. Returns how many tokens of each completion
        belong to the episode: what the model writes after its answer does not.
        """
        episodes, kept = [], []
        numbers = attempts([env.played.question for env in environments])
        for env, talk, number in zip(environments, conversations, numbers, strict=True):
            prompt = with_prompt_ids(env.played.prompt, talk.prompt_ids, framing)
            episode = Episode(env.played.question, prompt, attempt=number)
            made, length = moves(episode, talk, env._plays, self.tools, self.engine, framing, weights)
            for move in made:
                episode.append(move.turn, move.end)
            if not episode.done:
                self.engine.end(episode, EndReason.CONTEXT_EXHAUSTED)
            episodes.append(episode)
            kept.append(length)
        self._price(environments, episodes)
        return kept

    def _price(self, environments: Sequence[SearchQA], episodes: Sequence[Episode]) -> None:
        for env in environments:
            if env._failure is not None:
                raise env._failure
        self.engine.price(episodes)
        for env, episode in zip(environments, episodes, strict=True):
            env._episode = episode


def environment_factory(*, records: str | Path | None = None, **settings: Any) -> Environments:
    """:class:`Environments`, by TRL's name for the argument that takes them."""
    return Environments(records=records, **settings)


def _environment(tools: Sequence[ToolSpec]) -> type[SearchQA]:
    """The class of environments with these tools as methods, where TRL looks for them."""
    for tool in tools:
        if hasattr(SearchQA, tool.name):
            raise SpecError(f"a tool cannot have the name {tool.name!r}: TRL's environments use it")
    methods = {tool.name: as_method(tool, SearchQA._play) for tool in tools}
    return type(SearchQA.__name__, (SearchQA,), {"__doc__": SearchQA.__doc__, **methods})
