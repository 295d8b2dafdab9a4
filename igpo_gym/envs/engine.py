"""The engine: advances any number of episodes with one search call and one belief call a step.

A step has two halves. :meth:`Engine.play` reads the messages and searches, and changes nothing;
:meth:`Engine.settle` asks for all beliefs at once, then appends the turns and prices them. A scorer that
fails therefore leaves every episode as it was. Between the halves a caller knows which episodes will end, and
can have their successors' first beliefs computed in the same call.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from igpo_gym.episode import (
    Answer,
    Belief,
    Episode,
    Invalid,
    Passage,
    Question,
    Search,
    Segment,
    Turn,
    distinct,
)
from igpo_gym.errors import ScoringError, SearchError, TranscriptTooLongError
from igpo_gym.protocols import TextProtocol, well_formed
from igpo_gym.rewards import RewardFunction
from igpo_gym.scorers.interface import AnswerScorer, BeliefRequest, ask
from igpo_gym.search.interface import Retriever

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

    Raises ValueError for a reward that needs beliefs without a scorer, or for limits below 1.
    """

    protocol: TextProtocol
    retriever: Retriever
    reward: RewardFunction
    scorer: AnswerScorer | None
    max_turns: int
    top_k: int
    """How many passages a query brings."""
    retry_delays: tuple[float, ...] = SEARCH_RETRY_DELAYS

    def __post_init__(self) -> None:
        if "belief" in self.reward.needs and self.scorer is None:
            raise ValueError(f"reward {self.reward.name!r} needs a scorer, but scorer=None")
        for name, value in (("max_turns", self.max_turns), ("top_k", self.top_k)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")

    def begin(self, questions: Sequence[Question]) -> list[Episode]:
        """New episodes; their first beliefs come with the next :meth:`settle`."""
        return [Episode.begin(question, self.protocol.prompt(question)) for question in questions]

    def play(self, episodes: Sequence[Episode], messages: Sequence[str]) -> list[Move]:
        """Read one message per episode and search for all of them at once. The episodes stay as they are.

        Raises TypeError for a message that is not a string.
        """
        for message in messages:
            if not isinstance(message, str):
                raise TypeError(f"an action is a string, not {type(message).__name__}: {message!r:.80}")
        texts = [well_formed(message) for message in messages]
        actions = [self.protocol.parse(text) for text in texts]
        queries = dict.fromkeys(
            query for action in actions if isinstance(action, Search) for query in action.queries
        )
        found = self._search(list(queries)) if queries else {}
        moves = []
        for episode, text, action in zip(episodes, texts, actions, strict=True):
            turn, segments = self._turn(text, action, found)
            last = len(episode.turns) + 1 >= self.max_turns and not isinstance(action, Answer)
            moves.append(Move(episode, turn, segments, truncates=last))
        return moves

    def settle(self, moves: Sequence[Move], fresh: Sequence[Episode] = ()) -> list[float]:
        """Ask for every belief that is due, then append the moves and price them.

        ``fresh`` are episodes from :meth:`begin`. A move that makes the transcript longer than the scorer's
        model reads is the episode's last: it is truncated, and its belief stays what it was. Returns one
        reward per move. Whatever is raised (ScoringError, or an error of a reward term), all episodes are
        then as they were.
        """
        contexts: list[tuple[Episode, tuple[Segment, ...]]] = []
        if self.scorer is not None:
            contexts += [(episode, tuple(episode.segments)) for episode in fresh]
            contexts += [
                (move.episode, (*move.episode.segments, *move.segments))
                for move in moves
                if not isinstance(move.turn.action, Answer)
            ]
        beliefs = self.believe(
            [BeliefRequest(context, each.question.answers, self.protocol.probe) for each, context in contexts]
        )
        for episode, belief in zip(fresh, beliefs, strict=False):
            if belief is None:
                raise ScoringError(f"the prompt of {episode.question.id!r} is longer than the scorer reads")
        episodes = [*fresh, *(move.episode for move in moves)]
        marks = [episode.mark() for episode in episodes]
        try:
            for (episode, _), belief in zip(contexts, beliefs, strict=True):
                if belief is not None:
                    episode.beliefs.append(belief)
            return [self._commit(move) for move in moves]
        except BaseException:
            for episode, mark in zip(episodes, marks, strict=True):
                episode.rewind(mark)
            raise

    def believe(self, requests: Sequence[BeliefRequest]) -> list[Belief | None]:
        """The beliefs asked for; None for a transcript that is longer than the model reads."""
        if self.scorer is None or not requests:
            return []
        try:
            return list(ask(self.scorer, requests))
        except TranscriptTooLongError as problem:
            places = [place for place in range(len(requests)) if place not in problem.requests]
            if len(places) == len(requests):
                raise
            rest = dict(zip(places, self.believe([requests[place] for place in places]), strict=True))
            return [rest.get(place) for place in range(len(requests))]

    def _commit(self, move: Move) -> float:
        episode = move.episode
        episode.append(move.turn, move.segments)
        episode.truncated = move.truncates
        too_long = len(episode.beliefs) == len(episode.turns) and not episode.terminated
        if self.scorer is not None and too_long:
            episode.beliefs.append(episode.beliefs[-1])
            episode.truncated = True
        episode.rewards.append(self.reward.price(episode, len(episode.turns)))
        return sum(episode.rewards[-1].values())

    def _turn(
        self, message: str, action: Search | Answer | Invalid, found: dict[str, list[Passage]] | None
    ) -> tuple[Turn, tuple[Segment, ...]]:
        """The turn of a message and its segments; ``found`` is None when search was unavailable."""
        said = Segment("agent", "assistant", message)
        if isinstance(action, Answer):
            return Turn(message, action), (said,)
        results: tuple[tuple[Passage, ...], ...] = ()
        failed = isinstance(action, Search) and found is None
        if isinstance(action, Invalid):
            body = self.protocol.invalid(action.reason)
        elif found is None:
            body = self.protocol.unavailable()
        else:
            results = tuple(tuple(found[query]) for query in action.queries)
            body = self.protocol.passages(distinct(results))
        reply = self.protocol.reply(body)
        return Turn(message, action, results, reply.text, failed), (said, reply)

    def _search(self, queries: list[str]) -> dict[str, list[Passage]] | None:
        """The passages of each query, or None when the backend still fails after all tries."""
        for delay in (*self.retry_delays, None):
            try:
                results = self.retriever.search(queries, self.top_k)
                if len(results) != len(queries):
                    raise SearchError(f"{len(results)} results for {len(queries)} queries")
                return dict(zip(queries, results, strict=True))
            except (SearchError, OSError) as failure:
                if delay is None:
                    logger.warning("search is unavailable: %s", failure)
                    return None
                time.sleep(delay)
        raise AssertionError("unreachable: the last try has no delay")
