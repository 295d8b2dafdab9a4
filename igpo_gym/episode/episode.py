"""One attempt at a question: its turns, what was believed and paid, and why it ended."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from igpo_gym.episode.belief import BELIEF, Belief, BeliefView
from igpo_gym.episode.question import Question
from igpo_gym.episode.transcript import Segment
from igpo_gym.episode.turn import Answer, ToolCalls, Turn


class EndReason(StrEnum):
    """Why an episode ended. The first two terminate it, the others truncate it.

    >>> [str(reason) for reason in EndReason]
    ['answered', 'invalid message', 'turns exhausted', 'context exhausted', 'aborted']
    """

    ANSWERED = "answered"
    INVALID_MESSAGE = "invalid message"
    """A message was no action, in an environment where that ends the episode."""
    TURNS_EXHAUSTED = "turns exhausted"
    CONTEXT_EXHAUSTED = "context exhausted"
    """The transcript, or a trainer's row, has no room for another message."""
    ABORTED = "aborted"
    """The caller or a failure ended it. It has no outcome."""


# Looking a member of an enum up costs more than comparing with it, and each step does both many times.
_ANSWERED, _INVALID_MESSAGE, _ABORTED = EndReason.ANSWERED, EndReason.INVALID_MESSAGE, EndReason.ABORTED

MIXED_WEIGHTS = "mixed_weights"
"""The field of a record, and key of ``info``, that tells whether the weights changed within the episode."""

UNREAD = "unread"
"""The field of a record with the numbers of the states (0: the prompt) that the scorer could not read, or not
in each view."""


class EpisodeMark(NamedTuple):
    """A point in an episode: the lengths of its lists, who had measured, and whether it had ended."""

    turns: int
    beliefs: int
    rewards: int
    views: int
    measured: int
    instruments: Mapping[str, str]
    end: EndReason | None
    held_beliefs: list[Belief]
    """The list itself, as of the views: :meth:`Episode.believe_anew` puts others in their place."""
    held_views: list[dict[BeliefView, Belief]]
    extra: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Branch:
    """Where an episode left another one on the same question."""

    attempt: int
    """The number of the other's attempt."""
    turn: int
    """After how many turns; these the two share."""


@dataclass(slots=True)
class Episode:
    """One attempt at a question. Append-only; a step that raises is rolled back.

    ``beliefs[t]`` is the belief after turn ``t`` (``beliefs[0]``: the prompt alone); a turn without a reply
    (an answer) has no belief of its own, so an episode that ended with an answer has as many beliefs as
    turns. ``rewards[t]`` holds the named, weighted terms of turn ``t + 1``; their sum is what the environment
    paid.

    >>> episode = Episode(Question("1", "Where?", ("Danzig",)), (Segment("environment", "user", "Where?"),))
    >>> other = episode.fork()
    >>> other.append(Turn("<answer>Danzig</answer>", Answer("Danzig")), end=EndReason.ANSWERED)
    >>> other.done, other.prediction, episode.done, episode.states
    (True, 'Danzig', False, 1)
    """

    question: Question
    prompt: tuple[Segment, ...]
    """The segments that opened the episode."""
    turns: list[Turn] = field(default_factory=list)
    beliefs: list[Belief] = field(default_factory=list)
    """Empty where no scorer is at work."""
    rewards: list[dict[str, float]] = field(default_factory=list)
    end: EndReason | None = None
    """Why it ended; None while it runs."""
    attempt: int = 0
    """Which of the group's attempts at the question this is: policies draw other numbers for each."""
    max_turns: int | None = None
    """How many messages the agent may write, where this differs from the environment's setting."""
    views: list[dict[BeliefView, Belief]] = field(default_factory=list)
    """As ``beliefs``, those by other views; empty where no reward asks for one."""
    measured: list[dict[str, Any]] = field(default_factory=list)
    """``measured[t]`` is what instruments measured after turn ``t`` (``measured[0]``: of the prompt alone),
    the last turn included: a JSON value by instrument. Empty where no reward asks for one."""
    instruments: Mapping[str, str] = field(default_factory=dict)
    """The version of each instrument in ``measured``; empty for an instrument that does not tell one."""
    branch: Branch | None = None
    """Where it left another attempt; None for one that began at the prompt."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What a record held that this package does not know; it is written again as it was read."""

    @property
    def imported(self) -> Mapping[str, Any]:
        """Where an imported transcript comes from: its ``layout``, ``framing`` and ``place``, and what was
        ``told`` of it; empty for an episode that was played here."""
        found = self.extra.get("imported")
        return found if isinstance(found, Mapping) else {}

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The whole transcript so far."""
        return self.context(len(self.turns))

    @property
    def said_in(self) -> tuple[int, ...]:
        """For each segment of the transcript, the turn in which the agent wrote it, from 1; 0 for what the
        agent did not write, and for all of the prompt."""
        own = ((each.author == "agent") * n for n, turn in enumerate(self.turns, 1) for each in turn.segments)
        return (*[0] * len(self.prompt), *own)

    @property
    def prompt_text(self) -> str:
        """The text that opened the episode."""
        return "".join(segment.text for segment in self.prompt)

    @property
    def prediction(self) -> str | None:
        """The agent's answer, or None while there is none."""
        action = self.turns[-1].action if self.turns else None
        return action.text if isinstance(action, Answer) else None

    @property
    def tool_turns(self) -> int:
        """How many turns have called tools."""
        return sum(isinstance(turn.action, ToolCalls) for turn in self.turns)

    def calls_of(self, tool: str) -> int:
        """How often it called a tool."""
        actions = [turn.action for turn in self.turns if isinstance(turn.action, ToolCalls)]
        return sum(call.tool == tool for action in actions for call in action.calls)

    @property
    def failed_turns(self) -> int:
        """How many turns have called a tool whose backend was down."""
        failed = 0
        for turn in self.turns:
            for result in turn.results:
                if result.failed:
                    failed += 1
                    break
        return failed

    @property
    def terminated(self) -> bool:
        """Whether the agent's own message ended the episode."""
        return self.end is not None and (self.end is _ANSWERED or self.end is _INVALID_MESSAGE)

    @property
    def truncated(self) -> bool:
        """Whether anything else than the agent's message ended the episode."""
        return self.end is not None and not self.terminated

    @property
    def done(self) -> bool:
        """Whether the episode takes no more turns."""
        return self.end is not None

    @property
    def has_outcome(self) -> bool:
        """Whether the episode has ended by itself; one that runs or was aborted has no outcome, no score."""
        return self.end is not None and self.end is not _ABORTED

    @property
    def states(self) -> int:
        """How many states have beliefs: the prompt, and that after each turn that has a reply."""
        return len(self.turns) + 1 - self.terminated

    @property
    def turn_rewards(self) -> list[float]:
        """The reward of each turn that was priced, [turns]: the sum of its terms."""
        return [sum(terms.values()) for terms in self.rewards]

    @property
    def total_reward(self) -> float:
        """All that its turns were paid, undiscounted."""
        return sum(self.turn_rewards)

    @property
    def unread(self) -> frozenset[int]:
        """The states (0: the prompt) that the scorer could not read, or not in each view: a belief that could
        not be had is that of the state before."""
        return frozenset(self.extra.get(UNREAD, ()))

    def is_unread(self, turn: int, views: Collection[BeliefView] = (BELIEF,)) -> bool:
        """Whether the scorer could not read the state after ``turn`` turns in one of these views.

        Where no belief of a state that is ``unread`` tells which view that was, it was all.
        """
        if turn not in self.unread:
            return False
        held = dict(self.views[turn]) if turn < len(self.views) else {}
        if turn < len(self.beliefs):
            held[BELIEF] = self.beliefs[turn]
        unread = {view for view, belief in held.items() if belief.unread}
        return not unread or not unread.isdisjoint(views)

    def note_unread(self, turn: int) -> None:
        """Note that the scorer could not read the state after ``turn`` turns."""
        self.extra = {**self.extra, UNREAD: [*self.extra.get(UNREAD, ()), turn]}

    @property
    def belief_gain(self) -> float | None:
        """The last belief less the first, in probability; None where no scorer is at work."""
        return self.beliefs[-1].prob - self.beliefs[0].prob if self.beliefs else None

    def mark(self) -> EpisodeMark:
        """How far the episode has come, for :meth:`rewind`."""
        return EpisodeMark(
            len(self.turns),
            len(self.beliefs),
            len(self.rewards),
            len(self.views),
            len(self.measured),
            self.instruments,
            self.end,
            self.beliefs,
            self.views,
            self.extra,
        )

    def rewind(self, mark: EpisodeMark) -> None:
        """Take back what was added since the mark."""
        self.beliefs, self.views, self.extra = mark.held_beliefs, mark.held_views, mark.extra
        del self.turns[mark.turns :]
        del self.beliefs[mark.beliefs :]
        del self.rewards[mark.rewards :]
        del self.views[mark.views :]
        del self.measured[mark.measured :]
        self.instruments = mark.instruments
        self.end = mark.end

    def append(self, turn: Turn, end: EndReason | None = None) -> None:
        """Add a turn, and say why the episode ends if it does. Raises ValueError after the end."""
        if self.end is not None:
            raise ValueError("the episode has ended")
        self.turns.append(turn)
        self.end = end

    def believe(self, beliefs: Mapping[BeliefView, Belief | None]) -> bool:
        """Add the beliefs of one more state, by view; returns whether all could be had.

        One that could not (None) stays what it was. Raises LookupError where there was none before.
        """
        had = {
            view: belief or replace(self.belief(-1, view), unread=True) for view, belief in beliefs.items()
        }
        if BELIEF in had:
            self.beliefs.append(had.pop(BELIEF))
        if had:
            self.views.append(had)
        return None not in beliefs.values()

    @property
    def mixed(self) -> bool:
        """Whether its beliefs, those by one view, are of several versions of the weights."""
        by_view = self.views[0] if self.views else {}
        tracks = [self.beliefs, *([state[view] for state in self.views] for view in by_view)]
        return any(len({belief.weights for belief in track}) > 1 for track in tracks)

    def believe_anew(self, states: Sequence[Mapping[BeliefView, Belief | None]]) -> bool:
        """Put other beliefs in the place of all, those of each state by view; tells as :meth:`believe`.

        The episode's record then says ``mixed_weights``.
        """
        self.beliefs, self.views = [], []
        self.extra = {**self.extra, MIXED_WEIGHTS: True}
        return all([self.believe(beliefs) for beliefs in states])

    def note(self, measured: Mapping[str, Any], versions: Mapping[str, str]) -> None:
        """Add what instruments measured of one more state, by name, and their versions."""
        self.measured.append(dict(measured))
        self.instruments = {**self.instruments, **versions}

    def context(self, turn: int) -> tuple[Segment, ...]:
        """The transcript after ``turn`` turns (0: the prompt alone)."""
        segments = list(self.prompt)
        for played in self.turns[:turn]:
            segments += played.segments
        return tuple(segments)

    def fork(self) -> Episode:
        """A second episode that goes on from here, independently of this one."""
        return replace(
            self,
            turns=list(self.turns),
            beliefs=list(self.beliefs),
            rewards=list(self.rewards),
            views=list(self.views),
            measured=list(self.measured),
            extra=dict(self.extra),
        )

    def branched(self, turn: int, attempt: int) -> Episode:
        """A running episode that goes on from how this one was after ``turn`` turns, as another attempt.

        What was measured and paid until then stays, with which states were not read, and whether the weights
        changed while these turns were paid. Raises ValueError for a turn from which nothing goes on.
        """
        kept: dict[str, Any] = {}
        if unread := [state for state in self.extra.get(UNREAD, ()) if state <= turn]:
            kept[UNREAD] = unread
        if turn and self.extra.get(MIXED_WEIGHTS):
            kept[MIXED_WEIGHTS] = True
        if not 0 <= turn < len(self.turns) + (not self.done):
            raise ValueError(f"nothing goes on after {turn} turns of an episode of {len(self.turns)} turns")
        return replace(
            self,
            turns=self.turns[:turn],
            beliefs=self.beliefs[: turn + 1],
            rewards=self.rewards[:turn],
            views=self.views[: turn + 1],
            measured=self.measured[: turn + 1],
            end=None,
            attempt=attempt,
            branch=Branch(self.attempt, turn),
            extra=kept,
        )

    def until(self, turn: int) -> Episode:
        """A copy of the episode as it was after ``turn`` turns, without what was measured and paid."""
        return replace(
            self,
            turns=self.turns[:turn],
            beliefs=[],
            views=[],
            measured=[],
            instruments={},
            rewards=[],
            end=self.end if turn == len(self.turns) else None,
        )

    def belief(self, turn: int, view: BeliefView = BELIEF) -> Belief:
        """The belief after ``turn`` turns by a view. Raises LookupError where it was not measured."""
        return self.beliefs[turn] if view == BELIEF else self.views[turn][view]

    def messages(self) -> list[dict[str, str]]:
        """The transcript in chat form: consecutive segments of one role are one message."""
        return [
            {"role": role, "content": "".join([segment.text for segment in of_role])}
            for role, of_role in groupby(self.segments, attrgetter("role"))
        ]
