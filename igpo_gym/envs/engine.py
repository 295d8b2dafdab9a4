"""The engine: advances any number of episodes with one call of each tool and one belief call a step.

A step has two halves. :meth:`Engine.play` reads the messages and runs the tools, and changes nothing;
:meth:`Engine.settle` appends the turns, asks for all beliefs at once, and prices the turns, or takes it all
back. Between the halves a caller knows which episodes will end, and can have their successors' first beliefs
computed in the same call.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice, repeat
from typing import Literal, NamedTuple, get_args

from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs.rules import Rules
from igpo_gym.episode import (
    Action,
    Answer,
    EndReason,
    Episode,
    Invalid,
    Message,
    Question,
    Segment,
    ToolCall,
    ToolCalls,
    ToolResult,
    Turn,
)
from igpo_gym.errors import PromptTooLongError
from igpo_gym.lm.policy import Policy
from igpo_gym.protocols import TextProtocol
from igpo_gym.rewards import RewardFunction
from igpo_gym.rewards.believing import add_beliefs
from igpo_gym.rewards.functions import as_paid
from igpo_gym.rewards.instruments import Due, Instruments
from igpo_gym.rewards.interface import Judge, State
from igpo_gym.scorers.interface import AnswerScorer
from igpo_gym.search.interface import Corpus, Retriever, facts_of
from igpo_gym.text import well_formed
from igpo_gym.tools.interface import Tool
from igpo_gym.tools.opening import page_chars
from igpo_gym.tools.running import RETRY_DELAYS, run_calls

logger = logging.getLogger(__name__)

When = Literal["step", "end"]


class Move(NamedTuple):
    """A turn that has been played but not yet settled.

    >>> from igpo_gym.config import EnvConfig
    >>> from igpo_gym.envs.setup import assemble
    >>> questions, engine = assemble(EnvConfig(questions="world:test", scorer=None, reward="outcome-f1"))
    >>> (move,) = engine.play(engine.begin(questions.questions[:1]), ["<answer>Danzig</answer>"])
    >>> move.end.value, len(move.episode.turns)
    ('answered', 0)
    """

    episode: Episode
    turn: Turn
    end: EndReason | None
    """Why the episode ends with this turn; None if it goes on."""


@dataclass(frozen=True, slots=True)
class Engine:
    """The rules of the environment, without state of its own.

    Raises ValueError for a reward that needs what is not there, and SpecError for tools that cannot be told
    apart.

    >>> from igpo_gym.config import EnvConfig
    >>> from igpo_gym.envs.setup import assemble
    >>> questions, engine = assemble(EnvConfig(questions="world:test", scorer=None, reward="outcome-f1"))
    >>> episodes = engine.begin(questions.questions[:2])
    >>> engine.settle(engine.play(episodes, ["<search>Salman</search>", "no tags"]))
    [0.0, 0.0]
    >>> [episode.turns[0].action.kind for episode in episodes]
    ['tools', 'invalid']
    >>> engine.end(episodes[1], EndReason.TURNS_EXHAUSTED), episodes[1].end.value
    (0.0, 'turns exhausted')
    """

    protocol: TextProtocol
    """How agent and environment write; it is bound to the tools here."""
    tools: tuple[Tool, ...]
    """What the agent may call."""
    reward: RewardFunction
    scorer: AnswerScorer | None = None
    rules: Rules = field(default_factory=Rules)
    reference: AnswerScorer | None = None
    """A frozen model, for the rewards that need one; may be the scorer itself."""
    corpus: Corpus = ()
    """Where random documents come from, for the rewards that need them."""
    questions: QuestionSet | None = None
    """The set that the episodes' questions are from, for the rewards that need others of it."""
    policy: Policy | None = None
    """Completes episodes, for the rewards that need it."""
    retriever: Retriever | None = None
    """What the tools search with; what it tells about itself stands in ``info``."""
    judge: Judge | None = None
    """Grades every answer, whatever the reward."""
    retry_delays: tuple[float, ...] = RETRY_DELAYS
    measure: When = "step"
    """When beliefs and instruments are asked, and turns priced: at each step, as an environment must, or once
    episodes have ended (:meth:`price`), as a trainer that holds the weights may. The numbers are equal."""
    instruments: Instruments = field(init=False, repr=False, compare=False)
    _due: Due = field(init=False, repr=False, compare=False)
    _tools: dict[str, Tool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.measure not in get_args(When):
            raise ValueError(f"measure is 'step' or 'end', not {self.measure!r}")
        specs = tuple(tool.spec for tool in self.tools)
        if self.protocol.tools != specs:
            object.__setattr__(self, "protocol", self.protocol.with_tools(specs))
        if missing := self.reward.tools.difference(spec.name for spec in specs):
            raise ValueError(
                f"reward {self.reward.name!r} pays turns that call {', '.join(sorted(missing))}, but the "
                f"tools are {', '.join(spec.name for spec in specs) or 'none'}"
            )
        context = {
            "engine": self,
            "questions": self.questions,
            "policy": self.policy,
            "judge": self.judge,
        }
        instruments = Instruments(
            self.scorer,
            self.reference,
            self.corpus,
            self.protocol,
            context,
            self.rules.limits,
            page_chars(self.tools),
        )
        instruments.check(self.reward)
        object.__setattr__(self, "instruments", instruments)
        object.__setattr__(self, "_due", instruments.due([self.reward]))
        object.__setattr__(self, "_tools", {tool.spec.name: tool for tool in self.tools})

    def begin(self, questions: Sequence[Question], attempts: Sequence[int] | None = None) -> list[Episode]:
        """New episodes; their first beliefs come with :meth:`start`, or with the next :meth:`settle`.

        ``attempts`` number the attempts at one question; by default all are 0.
        """
        numbers = [0] * len(questions) if attempts is None else attempts
        return [
            Episode(question, self.protocol.prompt(question), attempt=number)
            for question, number in zip(questions, numbers, strict=True)
        ]

    def start(self, episodes: Sequence[Episode]) -> None:
        """Ask for the first beliefs of episodes from :meth:`begin`, all in one call; none where they come at
        the end.

        Whatever is raised, the episodes are then as they were.
        """
        if self.measure == "end" or not self._due:
            return
        with undone_on_error(episodes):
            self._measure([(episode, 0) for episode in episodes])

    def play(self, episodes: Sequence[Episode], messages: Sequence[str | Message]) -> list[Move]:
        """Read one message per episode and run all calls of all of them. The episodes stay as they are.

        What a policy sampled (a :class:`Message`) enters the transcript with its token ids.
        Raises TypeError for a message that is neither, and for a tool that breaks its contract.
        """
        read: list[tuple[Episode, Segment, Action, int]] = []
        calls: list[tuple[Episode, ToolCall]] = []
        for episode, message in zip(episodes, messages, strict=True):
            segment = _segment(message)
            left = self.max_turns(episode) - len(episode.turns) - 1
            action = self._action(message, segment.text, left)
            read.append((episode, segment, action, left))
            if isinstance(action, ToolCalls):
                calls.extend(zip(repeat(episode), action.calls, strict=False))
        results = iter(run_calls(self._tools, calls, self.retry_delays) if calls else ())
        moves = []
        for episode, segment, action, left in read:
            own = tuple(islice(results, len(action.calls))) if isinstance(action, ToolCalls) else ()
            end = self.end_of(action, left)
            moves.append(Move(episode, self._turn(episode, segment, action, own, end, left), end))
        return moves

    def settle(self, moves: Sequence[Move], fresh: Sequence[Episode] = ()) -> list[float]:
        """Append the moves, measure all that is due, and price the turns.

        ``fresh`` are episodes from :meth:`begin`, whose first beliefs are asked for in the same call. A move
        that makes the transcript longer than a scorer's model reads is the episode's last: its context is
        exhausted, and its belief stays what it was. Returns one reward per move; under ``measure="end"`` each
        is 0, and :meth:`price` tells what an ended episode earned. Whatever is raised (ScoringError, or an
        error of an instrument or a reward term), all episodes are then as they were.
        """
        with undone_on_error([*fresh, *[move.episode for move in moves]]):
            return self.apply(moves, fresh)

    def apply(self, moves: Sequence[Move], fresh: Sequence[Episode] = ()) -> list[float]:
        """As :meth:`settle`, for a caller that takes the episodes back itself, with :func:`undone_on_error`.

        Whatever is raised, some of them are then a part of the step further.
        """
        for move in moves:
            move.episode.append(move.turn, move.end)
        if self.measure == "end":
            return [0.0 for _ in moves]
        if self._due:
            episodes = [*fresh, *[move.episode for move in moves]]
            self._measure([(episode, len(episode.turns)) for episode in episodes])
        earned = []
        for move in moves:
            terms = self.reward.price(move.episode, len(move.episode.turns))
            move.episode.rewards.append(terms)
            earned.append(sum(terms.values()))
        return earned

    def price(self, episodes: Sequence[Episode]) -> list[float]:
        """Measure and price ended episodes as a whole, under ``measure="end"``; returns what each earned.

        All states of all episodes are asked in one call to each model and instrument. A transcript that is
        longer than a scorer's model reads has the belief that it had before. An episode whose prompt is too
        long is aborted instead, with a warning, and earns 0. What a branch shares with the episode that it
        left is priced already, and stays. Raises ValueError for an episode that runs or is priced already,
        and what :meth:`settle` raises; all episodes are then as they were.
        """
        known = [max(len(each.beliefs), len(each.views), len(each.measured)) for each in episodes]
        for episode, states in zip(episodes, known, strict=True):
            if not episode.done:
                raise ValueError(f"the episode on {episode.question.id!r} has not ended")
            branch = episode.branch
            shared_turns, shared_states = (branch.turn, branch.turn + 1) if branch else (0, 0)
            if len(episode.rewards) != shared_turns or states > shared_states:
                raise ValueError(f"the episode on {episode.question.id!r} is priced already")
        try:
            self._price(episodes, known)
        except PromptTooLongError as problem:
            unread = [each for each in episodes if each.question.id in problem.question_ids]
            with undone_on_error(unread):
                for episode in unread:
                    episode.end = EndReason.ABORTED
                    episode.rewards.extend({} for _ in episode.turns)
                self.price([each for each in episodes if each.question.id not in problem.question_ids])
            for name in dict.fromkeys(problem.question_ids):
                logger.warning("question %r is left out: %s", name, problem)
        return [episode.total_reward for episode in episodes]

    def _price(self, episodes: Sequence[Episode], known: Sequence[int]) -> None:
        """Measure and price episodes of which so many states have been measured."""
        with undone_on_error(episodes):
            due = [range(states, len(each.turns) + 1) for each, states in zip(episodes, known, strict=True)]
            self._measure([(each, turn) for each, own in zip(episodes, due, strict=True) for turn in own])
            for episode in episodes:
                paid = as_paid(episode)
                turns = range(len(episode.rewards) + 1, len(episode.turns) + 1)
                episode.rewards.extend([self.reward.price(paid, turn) for turn in turns])

    def end(self, episode: Episode, reason: EndReason) -> float:
        """End a running episode from outside, for a reason that only the caller knows.

        The last turn that was played becomes the episode's last: it is priced again as such, so that its
        information gain is taken back and the end pays what ends pay. An aborted episode is not priced: it
        has no outcome. Returns by how much the last turn's reward changed, 0 where :meth:`price` is to come.
        Raises ValueError for an episode that has ended, or that has no turn yet and is not aborted, and for a
        reason that only a message of the agent can give.
        """
        if reason in (EndReason.ANSWERED, EndReason.INVALID_MESSAGE):
            raise ValueError(f"only a message of the agent ends an episode for this reason: {reason}")
        if episode.done:
            raise ValueError(f"the episode has ended already: {episode.end}")
        if reason is not EndReason.ABORTED and not episode.turns:
            raise ValueError(
                f"the episode of {episode.question.id!r} cannot end before its first turn: {reason}"
            )
        with undone_on_error([episode]):
            episode.end = reason
            if reason is EndReason.ABORTED or self.measure == "end":
                return 0.0
            before = sum(episode.rewards[-1].values())
            episode.rewards[-1] = self.reward.price(episode, len(episode.turns))
        return sum(episode.rewards[-1].values()) - before

    def max_turns(self, episode: Episode) -> int:
        """How many messages the agent may write in this episode."""
        return self.rules.max_turns if episode.max_turns is None else episode.max_turns

    def last_turn(self, episode: Episode) -> int:
        """The number of the turn after which this episode has ended."""
        return self.max_turns(episode) + self.rules.answer_turns

    def facts(self) -> dict[str, str | int]:
        """What the retriever tells about itself as of now; empty where it tells nothing."""
        return facts_of(self.retriever)

    def _measure(self, states: Sequence[State]) -> None:
        """Add to the episodes what is due of these states, those of an episode in their order."""
        if self._due.views:
            # A message that ended the episode left no state to believe in.
            believed = [(episode, turn) for episode, turn in states if turn < episode.states]
            readable = add_beliefs(self.instruments, believed, self._due.views)
            for (episode, turn), read in zip(believed, readable, strict=True):
                if read:
                    continue
                episode.note_unread(turn)
                if episode.end is None:
                    episode.end = EndReason.CONTEXT_EXHAUSTED
        self._due.note_measured(states)

    def _action(self, message: str | Message, text: str, left: int) -> Action:
        """The action of a message, behind which so many turns are left."""
        action = self.protocol.parse(text)
        if isinstance(action, Invalid) and isinstance(message, Message) and message.cut_off:
            limit = f"its limit of {len(message.ids)} tokens" if message.ids else "its limit of tokens"
            return Invalid(f"the message was cut off at {limit} ({action.reason})")
        if left < 0 and isinstance(action, ToolCalls):
            return Invalid("only an answer is still allowed")
        return action

    def end_of(self, action: Action, left: int) -> EndReason | None:
        """Why an episode ends with this action, if it does, with so many of its ``max_turns`` left."""
        if isinstance(action, Answer):
            return EndReason.ANSWERED
        if isinstance(action, Invalid) and self.rules.on_invalid == "end":
            return EndReason.INVALID_MESSAGE
        return EndReason.TURNS_EXHAUSTED if left + self.rules.answer_turns <= 0 else None

    def _turn(
        self,
        episode: Episode,
        said: Segment,
        action: Action,
        results: tuple[ToolResult, ...],
        end: EndReason | None,
        left: int,
    ) -> Turn:
        if end is not None and end is not EndReason.TURNS_EXHAUSTED:
            return Turn(said.text, action, (said,))
        answer_next = end is None and left <= 0
        cut = 0
        if isinstance(action, ToolCalls):
            limits = self.rules.limits
            pairs = list(zip(action.calls, results, strict=True))
            reply, cut = self.protocol.reply_to(
                pairs, limits.shown_before(episode.turns), limits, answer_next
            )
        else:
            assert isinstance(action, Invalid)
            body = self.protocol.invalid(action.reason, answer_only=answer_next)
            reply = self.protocol.reply(body, answer_next)
        return Turn(said.text, action, (said, *reply), results, reply[0].text, cut)


class undone_on_error:  # noqa: N801 (used as a function; a generator in its place takes twice the time)
    """A context: whatever is raised within, the episodes are then as they were before."""

    __slots__ = ("_episodes", "_marks")

    def __init__(self, episodes: Sequence[Episode]) -> None:
        self._episodes = tuple(episodes)
        self._marks = [episode.mark() for episode in episodes]

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            for episode, mark in zip(self._episodes, self._marks, strict=True):
                episode.rewind(mark)


def _segment(message: str | Message) -> Segment:
    """The agent's message as it enters the transcript."""
    if isinstance(message, Message):
        return Segment(
            "agent",
            "assistant",
            well_formed(message.text),
            # Of a text without ids they are unknown: a server told the text alone.
            message.ids or (None if message.text else ()),
            message.log_probs or (None if message.text else ()),
            message.vocabulary,
            message.tokens,
            message.weights,
        )
    if not isinstance(message, str):
        raise TypeError(f"an action is a string, not {type(message).__name__}: {message!r:.80}")
    return Segment("agent", "assistant", well_formed(message))
