"""The values that every room of the package passes along: questions, passages, calls, turns, episodes.

An :class:`Episode` is append-only; a step that raises is rolled back. Its transcript is a sequence of
segments that are never changed, so whoever has tokenized a prefix of the transcript need not do so again.

>>> question = Question("1", "Who wrote The Tin Drum?", ("Günter Grass",))
>>> prompt = (Segment("environment", "user", question.text),)
>>> episode = Episode(question, prompt)
>>> said = Segment("agent", "assistant", "<answer>Günter Grass</answer>")
>>> episode.append(Turn(said.text, Answer("Günter Grass"), (said,)), end=EndReason.ANSWERED)
>>> episode.prediction, episode.terminated, len(episode.segments)
('Günter Grass', True, 2)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import groupby
from operator import attrgetter, index
from typing import Any, ClassVar, Literal, NamedTuple, SupportsIndex, TypeAlias

from igpo_gym.values import quickly_made

Author = Literal["environment", "agent"]
Role = Literal["system", "user", "assistant", "tool"]
Aliases = Literal["max", "first", "logsumexp"]
EvidenceMatch = Literal["id", "title", "id or title", "none"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its gold answers. An id may be a whole number, and lists become tuples.

    Raises ValueError when the text or the answers are empty, and for fields of other types.

    >>> question = Question("q1", "Who wrote The Tin Drum?", ("Günter Grass", "Grass"), evidence=("drum",))
    >>> question.answers[0], question.hops
    ('Günter Grass', None)
    >>> Question("q2", "Who?", ("",))
    Traceback (most recent call last):
    ValueError: question 'q2' has no answer, or an empty one
    """

    id: str
    text: str
    answers: tuple[str, ...]
    """The gold answer and its aliases; any of them is right."""
    evidence: tuple[str, ...] = ()
    """Ids of the passages that hold the answer's evidence, in the order of the hops; empty if unknown."""
    hops: int | None = None
    """How many facts must be chained, if known."""
    source: str = ""
    """The data set that the question comes from."""
    protected: bool = False
    """Whether it is of a set whose texts must not be published in the clear: files that are written of it
    hold hashes in their place (docs/data.md)."""
    parts: tuple[str, ...] = ()
    """Of an answer in parts, as a dictionary's keys and values: their texts, for metrics that count those
    that a prediction names (:func:`igpo_gym.data.parts.parts_of`)."""
    evidence_titles: tuple[str, ...] = ()
    """The titles of ``evidence``, one for each, where known: another corpus has other ids."""
    evidence_match: EvidenceMatch = "id"
    """How the evidence is found among the passages of the corpus that is searched, which an environment finds
    out (:mod:`igpo_gym.data.evidence`)."""
    evidence_texts: tuple[str, ...] = ()
    """What a passage has to say to be ``evidence``, a text for each, where a search may show less than all of
    a document: the sentence that decides. Empty where having the passage is enough."""

    def __post_init__(self) -> None:
        if not isinstance(self.id, str):
            if not isinstance(self.id, SupportsIndex) or isinstance(self.id, bool):
                raise ValueError(f"the id of a question must be a text, not {type(self.id).__name__}")
            object.__setattr__(self, "id", str(index(self.id)))
        for name in ("text", "source"):
            if not isinstance(value := getattr(self, name), str):
                raise ValueError(f"the {name} of question {self.id!r} is no text, but {type(value).__name__}")
        if not self.text.strip():
            raise ValueError(f"question {self.id!r} has no text")
        for name in ("answers", "evidence", "parts", "evidence_titles", "evidence_texts"):
            texts = getattr(self, name)
            if not isinstance(texts, tuple):
                if isinstance(texts, str) or not isinstance(texts, Iterable):
                    raise ValueError(f"question {self.id!r}: {name} must be a tuple of texts, not one text")
                object.__setattr__(self, name, tuple(texts))
            if not all(isinstance(each, str) for each in getattr(self, name)):
                raise ValueError(f"question {self.id!r}: one of its {name} is no text")
        if self.hops is not None:
            if not isinstance(self.hops, SupportsIndex) or isinstance(self.hops, bool):
                raise ValueError(f"question {self.id!r}: hops must be a whole number or None")
            object.__setattr__(self, "hops", index(self.hops))
        if not self.answers or not all(answer.strip() for answer in self.answers):
            raise ValueError(f"question {self.id!r} has no answer, or an empty one")
        if self.evidence_titles and len(self.evidence_titles) != len(self.evidence):
            raise ValueError(f"question {self.id!r} has not as many titles of evidence as pieces of it")
        if self.evidence_texts and len(self.evidence_texts) != len(self.evidence):
            raise ValueError(f"question {self.id!r} has not as many texts of evidence as pieces of it")


@quickly_made
@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a corpus, as a search returns it.

    The score is no part of what a passage is:

    >>> Passage("1", "Danzig", "A port.", score=2.5) == Passage("1", "Danzig", "A port.")
    True
    """

    id: str
    title: str
    text: str
    score: float = field(default=0.0, compare=False)
    """The retriever's score for the query that found it; not comparable between retrievers."""


@quickly_made
@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of one tool, as the agent wrote it and its schema allows it.

    >>> ToolCall("search", {"query": "author of The Tin Drum"}).tool
    'search'
    """

    tool: str
    """The tool's name."""
    arguments: Mapping[str, Any]
    """JSON values by the name of the argument."""


@quickly_made
@dataclass(frozen=True, slots=True)
class ToolResult:
    """What one call brought. The environment's reply shows ``text`` where there is one, else the passages.

    >>> ToolResult("32").text, ToolResult(failed=True).passages
    ('32', ())
    """

    text: str = ""
    """What a tool says in words, such as the page of a document."""
    passages: tuple[tuple[Passage, ...], ...] = ()
    """The passages that the reply shows, if only in part; a search has a tuple for each of its queries."""
    failed: bool = False
    """Whether the backend was down. A turn with a failed call pays no information gain."""


@quickly_made
@dataclass(frozen=True, slots=True)
class ToolCalls:
    """The agent calls tools, in the order of its message.

    >>> ToolCalls((ToolCall("search", {"query": "Danzig"}), ToolCall("open", {"document": "Danzig"}))).kind
    'tools'
    """

    calls: tuple[ToolCall, ...]
    kind: ClassVar[str] = "tools"


@quickly_made
@dataclass(frozen=True, slots=True)
class Answer:
    """The agent answers, which ends the episode.

    >>> Answer("Danzig").kind
    'answer'
    """

    text: str
    kind: ClassVar[str] = "answer"


@quickly_made
@dataclass(frozen=True, slots=True)
class Invalid:
    """A message that is not an action; ``reason`` tells the agent what was wrong with it.

    >>> Invalid("the answer is empty").kind
    'invalid'
    """

    reason: str
    kind: ClassVar[str] = "invalid"


Action: TypeAlias = ToolCalls | Answer | Invalid


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
_ANSWERED, _INVALID_MESSAGE = EndReason.ANSWERED, EndReason.INVALID_MESSAGE


@dataclass(frozen=True, slots=True)
class Message:
    """An agent's message as a language model sampled it. ValueError for unlike numbers of ids and log-probs.

    The text may end within the last token, where that spells more than the end of the action.

    >>> Message("<answer>Danzig</answer>", ids=(5, 9, 2), log_probs=(-0.1, -0.7, -0.2)).cut_off
    False
    >>> Message("a", ids=(5, 9), log_probs=(-0.1,))
    Traceback (most recent call last):
    ValueError: a message of 2 ids has 1 log-probabilities
    """

    text: str
    ids: tuple[int, ...]
    """The token ids, the one with which the model ended the message included, if it did."""
    log_probs: tuple[float, ...]
    """For each id, its log-probability under the model itself (temperature 1, no id excluded), in nats."""
    vocabulary: str = ""
    """What the ids mean: the :attr:`igpo_gym.lm.framing.Framing.vocabulary` of the policy. A reader of
    another vocabulary takes the text; where it is not said (empty), a reader takes the ids for its own."""
    tokens: tuple[str, ...] = ()
    """For each id, its text, for people to read; empty where the policy does not tell."""
    cut_off: bool = False
    """Whether a limit of length ended it. Set by the policy; the environment then says so to the agent."""
    weights: str = ""
    """The version of the weights that sampled it, in the words of whoever trains them; empty if not told."""

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.log_probs):
            raise ValueError(f"a message of {len(self.ids)} ids has {len(self.log_probs)} log-probabilities")
        if self.tokens and len(self.ids) != len(self.tokens):
            raise ValueError(f"a message of {len(self.ids)} ids has {len(self.tokens)} tokens' texts")


@quickly_made
@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a transcript, written by one author. The unit of tokenization.

    >>> reply = Segment("environment", "user", "Doc 1(Title: Danzig) A port.")
    >>> reply.author, reply.role, reply.ids
    ('environment', 'user', None)
    """

    author: Author
    role: Role
    """The chat role whose message this text belongs to; consecutive segments of a role are one message."""
    text: str
    ids: tuple[int, ...] | None = None
    """The token ids that a policy sampled, where known: scorers that share its vocabulary use these."""
    log_probs: tuple[float, ...] | None = None
    """For each of ``ids``, the log-probability that :class:`Message` told, in nats."""
    vocabulary: str = ""
    """What the ids mean, see :class:`Message`."""
    tokens: tuple[str, ...] = ()
    """For each of ``ids``, its text; empty where unknown."""
    weights: str = ""
    """The version of the weights that sampled them, see :class:`Message`."""


@quickly_made
@dataclass(frozen=True, slots=True)
class Belief:
    """A language model's belief in the gold answer, given a transcript (docs/METHOD.md, section 1).

    >>> belief = Belief((-0.5, -2.0))
    >>> round(belief.prob, 3), belief.reduced("first")
    (0.607, -0.5)
    """

    log_probs: tuple[float, ...]
    """For each alias, the mean log-probability of its tokens, in nats; in a view that asks for the ``tagged``
    span, the sum."""
    token_log_probs: tuple[tuple[float, ...], ...] = field(default=(), compare=False)
    """For each alias, the log-probability of each of its tokens, in nats; empty where the scorer does not
    tell."""
    joined: tuple[bool, ...] = field(default=(), compare=False)
    """For each alias, whether its first or last token holds a part of the probe, too, as the tokenizer joins
    them; empty where none does."""
    weights: str = field(default="", compare=False)
    """The version of the weights that gave it; empty where the scorer does not tell one."""

    def reduced(self, aliases: Aliases = "max") -> float:
        """One log-probability for all aliases: that of the best, of the first, or of their sum.

        The sum of length-normalized probabilities can exceed 1, so the last can be above 0.
        """
        if aliases == "first":
            return self.log_probs[0]
        best = max(self.log_probs)
        if aliases == "max":
            return best
        return best + math.log(sum(math.exp(log_prob - best) for log_prob in self.log_probs))

    @property
    def log_prob(self) -> float:
        """The log-probability of the best alias, in nats per token."""
        return max(self.log_probs)

    @property
    def prob(self) -> float:
        """The length-normalized probability of the best alias, in [0, 1]."""
        return math.exp(self.log_prob)


@dataclass(frozen=True, slots=True)
class BeliefView:
    """Which belief is meant: who is asked, what about, and having read what. Equal views are one belief.

    Raises ValueError for a value that a field does not have.

    >>> BeliefView() == BELIEF, BeliefView("evidence").context
    (True, 'evidence')
    >>> BeliefView("thoughts")
    Traceback (most recent call last):
    ValueError: unknown context 'thoughts'; choose one of: full, evidence
    """

    context: Literal["full", "evidence"] = "full"
    """``full``: the whole transcript. ``evidence``: queries and documents alone, so that nothing that the
    agent writes beside its queries can raise the belief; a message without a valid query is left out."""
    span: Literal["answer", "tagged"] = "answer"
    """``answer``: the mean over the answer's tokens, behind the probe. ``tagged``: the sum over the tokens of
    ``<answer>answer</answer>``, where the agent writes next."""
    model: Literal["scorer", "reference"] = "scorer"
    draw: int | None = None
    """None: with the documents that the latest turn found. A number: with as many random ones of the corpus
    in their place; each number is another draw."""

    @property
    def rewritten(self) -> bool:
        """Whether it reads another transcript than the recorded one, which a protocol writes."""
        return self.context == "evidence" or self.draw is not None

    def __post_init__(self) -> None:
        for name, known in _VIEW_VALUES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; choose one of: {', '.join(known)}")


_VIEW_VALUES = {
    "context": ("full", "evidence"),
    "span": ("answer", "tagged"),
    "model": ("scorer", "reference"),
}
BELIEF = BeliefView()
"""The belief of docs/METHOD.md, section 1: that which ``Episode.beliefs`` holds."""


def distinct(results: tuple[tuple[Passage, ...], ...]) -> tuple[Passage, ...]:
    """The passages of several results without repeats, in order of query and rank.

    >>> danzig, gdansk = Passage("1", "Danzig", "A port."), Passage("2", "Gdańsk", "A city.")
    >>> [passage.id for passage in distinct(((danzig, gdansk), (gdansk,)))]
    ['1', '2']
    """
    return tuple({passage.id: passage for result in results for passage in result}.values())


@quickly_made
@dataclass(frozen=True, slots=True)
class Turn:
    """One message of the agent and the environment's reply.

    >>> danzig = Passage("1", "Danzig", "A port.")
    >>> call = ToolCall("search", {"query": ["Danzig", "port"]})
    >>> turn = Turn("...", ToolCalls((call,)), results=(ToolResult(passages=((danzig,), (danzig,))),))
    >>> [passage.title for passage in turn.passages], turn.failed
    (['Danzig'], False)
    """

    message: str
    action: Action
    segments: tuple[Segment, ...] = ()
    """What the turn added to the transcript: the message, and the reply if there was one."""
    results: tuple[ToolResult, ...] = ()
    """One for each call of the action, in its order."""
    observation: str = ""
    """The environment's reply, empty where the episode ended with the message."""
    cut: int = 0
    """How many characters of documents and results the reply leaves out, by the environment's limits."""

    @property
    def passages(self) -> tuple[Passage, ...]:
        """The distinct passages that the turn brought, in order of call, query and rank."""
        if len(self.results) == 1:
            return distinct(self.results[0].passages)
        return distinct(tuple(found for result in self.results for found in result.passages))

    @property
    def failed(self) -> bool:
        """Whether the backend of any of its calls was down: such a turn pays no information gain."""
        for result in self.results:  # noqa: SIM110 (asked every step, and several times faster than any)
            if result.failed:
                return True
        return False


MIXED_WEIGHTS = "mixed_weights"
"""The field of a record, and key of ``info``, that tells whether the weights changed within the episode."""

UNREAD = "unread"
"""The field of a record with the numbers of the states (0: the prompt) that the scorer could not read."""


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
        """The states (0: the prompt) that the scorer could not read, with the belief of the one before."""
        return frozenset(self.extra.get(UNREAD, ()))

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
        had = {view: belief or self.belief(-1, view) for view, belief in beliefs.items()}
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
