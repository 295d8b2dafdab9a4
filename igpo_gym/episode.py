"""The values that every room of the package passes along: questions, passages, actions, turns, episodes.

An :class:`Episode` only ever grows. Its transcript is a list of segments; a segment is never changed once it
is in the list, so whoever has tokenized a prefix of the transcript need not do so again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, NamedTuple, TypeAlias

Author = Literal["environment", "agent"]
Role = Literal["system", "user", "assistant"]
Aliases = Literal["max", "first", "logsumexp"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its gold answers. Raises ValueError when the text or the answers are empty."""

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

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError(f"question {self.id!r} has no text")
        if isinstance(self.answers, str):
            raise ValueError(f"question {self.id!r}: the answers must be a tuple of texts, not one text")
        if not self.answers or not all(answer.strip() for answer in self.answers):
            raise ValueError(f"question {self.id!r} has no answer, or an empty one")


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a corpus, as a search returns it."""

    id: str
    title: str
    text: str
    score: float = field(default=0.0, compare=False)
    """The retriever's score for the query that found it; not comparable between retrievers."""


@dataclass(frozen=True, slots=True)
class Search:
    """The agent asks for passages, with one or more queries."""

    queries: tuple[str, ...]
    kind: ClassVar[str] = "search"


@dataclass(frozen=True, slots=True)
class Answer:
    """The agent answers, which ends the episode."""

    text: str
    kind: ClassVar[str] = "answer"


@dataclass(frozen=True, slots=True)
class Invalid:
    """A message that is not an action; ``reason`` tells the agent what was wrong with it."""

    reason: str
    kind: ClassVar[str] = "invalid"


Action: TypeAlias = Search | Answer | Invalid


@dataclass(frozen=True, slots=True)
class Message:
    """An agent's message as a language model sampled it. ValueError for unlike numbers of ids and log-probs.

    The ids are without the token that ended the message (an end of turn, say), if one did; and the text may
    end within the last token, where that spells more than the end of the action.
    """

    text: str
    ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    """For each id, its log-probability under the model itself (temperature 1, no id excluded), in nats."""
    vocabulary: str = ""
    """What the ids mean: the :attr:`igpo_gym.lm.framing.Framing.vocabulary` of the policy. A reader of
    another vocabulary takes the text; where it is not said (empty), a reader takes the ids for its own."""

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.log_probs):
            raise ValueError(f"a message of {len(self.ids)} ids has {len(self.log_probs)} log-probabilities")


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a transcript, written by one author. The unit of tokenization."""

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


@dataclass(frozen=True, slots=True)
class Belief:
    """A language model's belief in the gold answer, given a transcript (METHOD: section 1 of IGPO)."""

    log_probs: tuple[float, ...]
    """For each alias, the mean log-probability of its tokens, in nats; in a view that asks for the ``tagged``
    span, the sum."""
    tokens: tuple[int, ...] = field(default=(), compare=False)
    """For each alias, how many tokens were averaged; empty where the scorer does not tell."""

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
"""The belief of METHOD, section 1: that which ``Episode.beliefs`` holds."""


def distinct(results: tuple[tuple[Passage, ...], ...]) -> tuple[Passage, ...]:
    """The passages of several results without repeats, in order of query and rank."""
    return tuple({passage.id: passage for result in results for passage in result}.values())


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of the agent and the environment's reply."""

    message: str
    action: Action
    results: tuple[tuple[Passage, ...], ...] = ()
    """The passages found, a tuple for each query; empty unless the action is a search that worked."""
    observation: str = ""
    """The environment's reply, empty after an answer."""
    search_failed: bool = False
    """Whether the search backend was down: such a turn pays no gain."""

    @property
    def passages(self) -> tuple[Passage, ...]:
        """The distinct passages found in this turn, in order of query and rank."""
        return distinct(self.results)


class EpisodeMark(NamedTuple):
    """A point in an episode: the lengths of its lists."""

    segments: int
    turns: int
    beliefs: int
    rewards: int
    views: int
    values: int
    truncated: bool


@dataclass(slots=True)
class Episode:
    """One attempt at a question. It only grows, but for a step that fails and is taken back.

    ``beliefs[t]`` is the belief after turn ``t`` (``beliefs[0]``: the prompt alone); an answer has no belief
    of its own, so an episode that ended with an answer has as many beliefs as turns. ``rewards[t]`` holds the
    named, weighted terms of turn ``t + 1``; their sum is what the environment paid.
    """

    question: Question
    segments: list[Segment]
    prompt_length: int
    """How many of the segments are the prompt."""
    turns: list[Turn] = field(default_factory=list)
    beliefs: list[Belief] = field(default_factory=list)
    """Empty where no scorer is at work."""
    rewards: list[dict[str, float]] = field(default_factory=list)
    truncated: bool = False
    """Whether the turns ran out before an answer."""
    attempt: int = 0
    """Which of the group's attempts at the question this is: policies draw other numbers for each."""
    views: list[dict[BeliefView, Belief]] = field(default_factory=list)
    """As ``beliefs``, those by other views; empty where no reward asks for one."""
    values: list[dict[int, float]] = field(default_factory=list)
    """As ``beliefs``, the mean outcome of so many completions that a policy samples from there on; empty
    where no reward asks for one."""

    @classmethod
    def begin(cls, question: Question, prompt: tuple[Segment, ...], attempt: int = 0) -> Episode:
        """An episode without turns."""
        return cls(question, list(prompt), len(prompt), attempt=attempt)

    @property
    def prompt(self) -> str:
        """The text that opened the episode."""
        return "".join(segment.text for segment in self.segments[: self.prompt_length])

    @property
    def prediction(self) -> str | None:
        """The agent's answer, or None while there is none."""
        action = self.turns[-1].action if self.turns else None
        return action.text if isinstance(action, Answer) else None

    @property
    def searches(self) -> int:
        """How many turns have searched."""
        return sum(isinstance(turn.action, Search) for turn in self.turns)

    @property
    def terminated(self) -> bool:
        """Whether the agent has answered."""
        return self.prediction is not None

    @property
    def done(self) -> bool:
        """Whether the episode takes no more turns."""
        return self.terminated or self.truncated

    def mark(self) -> EpisodeMark:
        """How far the episode has come, for :meth:`rewind`."""
        return EpisodeMark(
            len(self.segments),
            len(self.turns),
            len(self.beliefs),
            len(self.rewards),
            len(self.views),
            len(self.values),
            self.truncated,
        )

    def rewind(self, mark: EpisodeMark) -> None:
        """Take back what was added since the mark."""
        del self.segments[mark.segments :]
        del self.turns[mark.turns :]
        del self.beliefs[mark.beliefs :]
        del self.rewards[mark.rewards :]
        del self.views[mark.views :]
        del self.values[mark.values :]
        self.truncated = mark.truncated

    def append(self, turn: Turn, segments: tuple[Segment, ...]) -> None:
        """Add a turn and what it adds to the transcript."""
        if self.done:
            raise ValueError("the episode has ended")
        self.turns.append(turn)
        self.segments.extend(segments)

    def context(self, turn: int) -> tuple[Segment, ...]:
        """The transcript after ``turn`` turns (0: the prompt alone). Only an answer adds a single segment."""
        return tuple(self.segments[: self.prompt_length + 2 * turn])

    def until(self, turn: int) -> Episode:
        """A copy of the episode as it was after ``turn`` turns, without what was measured and paid."""
        return replace(
            self,
            segments=list(self.context(turn)),
            turns=self.turns[:turn],
            beliefs=[],
            views=[],
            values=[],
            rewards=[],
            truncated=self.truncated and turn == len(self.turns),
        )

    def belief(self, turn: int, view: BeliefView = BELIEF) -> Belief:
        """The belief after ``turn`` turns by a view. Raises LookupError where it was not measured."""
        return self.beliefs[turn] if view == BELIEF else self.views[turn][view]

    def messages(self) -> list[dict[str, str]]:
        """The transcript in chat form: consecutive segments of one role are one message."""
        merged: list[dict[str, str]] = []
        for segment in self.segments:
            if merged and merged[-1]["role"] == segment.role:
                merged[-1]["content"] += segment.text
            else:
                merged.append({"role": segment.role, "content": segment.text})
        return merged
