"""The engine: advances any number of episodes with one search call and one belief call a step.

A step has two halves. :meth:`Engine.play` reads the messages and searches, and changes nothing;
:meth:`Engine.settle` appends the turns, asks for all beliefs at once, and prices the turns, or takes it all
back. Between the halves a caller knows which episodes will end, and can have their successors' first beliefs
computed in the same call.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from igpo_gym.episode import (
    Answer,
    Episode,
    Invalid,
    Message,
    Passage,
    Question,
    Search,
    Segment,
    Turn,
    distinct,
)
from igpo_gym.errors import SearchError
from igpo_gym.protocols import TextProtocol
from igpo_gym.rewards import RewardFunction
from igpo_gym.rewards.instruments import Due, Instruments, ValueEstimator
from igpo_gym.scorers.interface import AnswerScorer
from igpo_gym.search.interface import Corpus, Retriever
from igpo_gym.text import well_formed

logger = logging.getLogger(__name__)

SEARCH_RETRY_DELAYS = (0.2, 1.0)
"""Seconds to wait before each new try of a search that failed."""


@dataclass(frozen=True, slots=True)
class Move:
    """A turn that has been played but not yet settled."""

    episode: Episode
    turn: Turn
    segments: tuple[Segment, ...]
    """What the turn will add to the transcript."""
    truncates: bool
    """Whether the turns run out with this one."""

    @property
    def ends(self) -> bool:
        """Whether the episode ends with this turn."""
        return self.truncates or isinstance(self.turn.action, Answer)


@dataclass(frozen=True, slots=True)
class Engine:
    """The rules of the environment, without state of its own.

    Raises ValueError for a reward that needs what is not there, or for limits below 1.
    """

    protocol: TextProtocol
    retriever: Retriever
    reward: RewardFunction
    scorer: AnswerScorer | None
    max_turns: int
    top_k: int
    """How many passages a query brings."""
    retry_delays: tuple[float, ...] = SEARCH_RETRY_DELAYS
    reference: AnswerScorer | None = None
    """A frozen model, for the rewards that need one; may be the scorer itself."""
    corpus: Corpus = ()
    """Where random documents come from, for the rewards that need them."""
    estimator: ValueEstimator | None = None
    """What a policy can still reach, for the rewards that need it."""
    instruments: Instruments = field(init=False, repr=False, compare=False)
    _due: Due = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        instruments = Instruments(self.scorer, self.reference, self.estimator, self.corpus, self.protocol)
        instruments.check(self.reward)
        object.__setattr__(self, "instruments", instruments)
        object.__setattr__(self, "_due", instruments.due([self.reward]))
        for name, value in (("max_turns", self.max_turns), ("top_k", self.top_k)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")

    def begin(self, questions: Sequence[Question], attempts: Sequence[int] | None = None) -> list[Episode]:
        """New episodes; their first beliefs come with the next :meth:`settle`.

        ``attempts`` number the attempts at one question; by default all are 0.
        """
        numbers = [0] * len(questions) if attempts is None else attempts
        return [
            Episode.begin(question, self.protocol.prompt(question), number)
            for question, number in zip(questions, numbers, strict=True)
        ]

    def play(self, episodes: Sequence[Episode], messages: Sequence[str | Message]) -> list[Move]:
        """Read one message per episode and search for all of them at once. The episodes stay as they are.

        What a policy sampled (a :class:`Message`) enters the transcript with its token ids.
        Raises TypeError for a message that is neither.
        """
        said = [_segment(message) for message in messages]
        actions = [self.protocol.parse(segment.text) for segment in said]
        queries = dict.fromkeys(
            query for action in actions if isinstance(action, Search) for query in action.queries
        )
        found = self._search(list(queries))
        moves = []
        for episode, segment, action in zip(episodes, said, actions, strict=True):
            turn, segments = self._turn(segment, action, found)
            last = len(episode.turns) + 1 >= self.max_turns and not isinstance(action, Answer)
            moves.append(Move(episode, turn, segments, truncates=last))
        return moves

    def settle(self, moves: Sequence[Move], fresh: Sequence[Episode] = ()) -> list[float]:
        """Append the moves, ask for every belief that is due, and price the turns.

        ``fresh`` are episodes from :meth:`begin`. A move that makes the transcript longer than a scorer's
        model reads is the episode's last: it is truncated, and its belief stays what it was. Returns one
        reward per move. Whatever is raised (ScoringError, or an error of a reward term), all episodes are
        then as they were.
        """
        episodes = [*fresh, *(move.episode for move in moves)]
        with undone_on_error(episodes):
            for move in moves:
                move.episode.append(move.turn, move.segments)
                move.episode.truncated = move.truncates
            if self._due:
                self._measure([episode for episode in episodes if not episode.terminated])
            return [self._price(move.episode) for move in moves]

    def _measure(self, episodes: Sequence[Episode]) -> None:
        """Add to each episode what is due after its latest turn."""
        states = [(episode, len(episode.turns)) for episode in episodes]
        readings = self.instruments.measure(states, self._due)
        for episode, reading in zip(episodes, readings, strict=True):
            if not reading.note(episode):
                episode.truncated = True
                episode.values[-1:] = [dict.fromkeys(values, 0.0) for values in episode.values[-1:]]

    def _price(self, episode: Episode) -> float:
        episode.rewards.append(self.reward.price(episode, len(episode.turns)))
        return sum(episode.rewards[-1].values())

    def _turn(
        self, said: Segment, action: Search | Answer | Invalid, found: Mapping[str, list[Passage]]
    ) -> tuple[Turn, tuple[Segment, ...]]:
        """The turn of a message and its segments; a query that ``found`` lacks could not be searched for."""
        if isinstance(action, Answer):
            return Turn(said.text, action), (said,)
        results: tuple[tuple[Passage, ...], ...] = ()
        failed = isinstance(action, Search) and not found.keys() >= set(action.queries)
        if isinstance(action, Invalid):
            body = self.protocol.invalid(action.reason)
        elif failed:
            body = self.protocol.unavailable()
        else:
            results = tuple(tuple(found[query]) for query in action.queries)
            body = self.protocol.passages(distinct(results))
        reply = self.protocol.reply(body)
        return Turn(said.text, action, results, reply.text, failed), (said, reply)

    def _search(self, queries: list[str]) -> dict[str, list[Passage]]:
        """The passages of each query, less the queries that still fail after all tries."""
        if not queries:
            return {}
        for delay in (*self.retry_delays, None):
            try:
                return self._found(queries)
            except (SearchError, OSError) as failure:
                if delay is None:
                    logger.warning("search is unavailable: %s", failure)
                    return self._found_by_halves(queries)
                time.sleep(delay)
        raise AssertionError("unreachable: the last try has no delay")

    def _found(self, queries: list[str]) -> dict[str, list[Passage]]:
        results = self.retriever.search(queries, self.top_k)
        if len(results) != len(queries):
            raise SearchError(f"{len(results)} results for {len(queries)} queries")
        return dict(zip(queries, results, strict=True))

    def _found_by_halves(self, queries: list[str]) -> dict[str, list[Passage]]:
        """What is left when a backend fails because of a single query: the halves that work, and of one that
        fails beside one that works, the same again. A backend that is down costs two calls."""
        if len(queries) == 1:
            return {}
        halves = queries[: len(queries) // 2], queries[len(queries) // 2 :]
        found: dict[str, list[Passage]] = {}
        failing = []
        for half in halves:
            try:
                found |= self._found(half)
            except (SearchError, OSError):
                failing.append(half)
        return found | self._found_by_halves(*failing) if len(failing) == 1 else found


@contextmanager
def undone_on_error(episodes: Sequence[Episode]) -> Iterator[None]:
    """Whatever is raised within, the episodes are then as they were before."""
    marks = [(episode, episode.mark()) for episode in episodes]
    try:
        yield
    except BaseException:
        for episode, mark in marks:
            episode.rewind(mark)
        raise


def _segment(message: str | Message) -> Segment:
    """The agent's message as it enters the transcript."""
    if isinstance(message, Message):
        text = well_formed(message.text)
        return Segment("agent", "assistant", text, message.ids, message.log_probs, message.vocabulary)
    if not isinstance(message, str):
        raise TypeError(f"an action is a string, not {type(message).__name__}: {message!r:.80}")
    return Segment("agent", "assistant", well_formed(message))
