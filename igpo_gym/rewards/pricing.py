"""Information gain of what no environment of this package played: conversations, and turns of others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from igpo_gym.data.answers import answers_of
from igpo_gym.episode import (
    Action,
    Answer,
    EndReason,
    Episode,
    Question,
    Segment,
    ToolCall,
    ToolCalls,
    ToolResult,
    Turn,
)
from igpo_gym.errors import SpecError
from igpo_gym.protocols import ANSWER_PROBE, TAGS, AnswerProbe
from igpo_gym.protocols.messages import said
from igpo_gym.rewards.believing import add_beliefs
from igpo_gym.rewards.functions import RewardFunction, resolve_reward
from igpo_gym.rewards.instruments import Due, Instruments
from igpo_gym.rewards.interface import RewardTerm, State
from igpo_gym.scorers import resolve_reference, resolve_scorer
from igpo_gym.scorers.interface import AnswerScorer

ENVIRONMENT = "environment"
"""The term of what an environment paid itself."""

CALL = "act"
"""The tool that an action counts as, where an environment knows no tools."""


@dataclass(frozen=True)
class Pricing:
    """Prices turns that were played elsewhere, by terms that need no search.

    Every turn is paid, the last one too, if it has an observation: the gains of an episode sum to the whole
    change of its belief. A turn that ends without one is paid no gain. A term that pays on the last turn of
    itself, as a potential does, is paid there as in a search environment.

    Raises SpecError for a reward with outcome terms (the outcome is what the environment pays), and for terms
    that read tools, documents, evidence or a policy.
    """

    reward: RewardFunction
    scorer: AnswerScorer | None
    reference: AnswerScorer | None = None
    probe: AnswerProbe = ANSWER_PROBE
    _instruments: Instruments = field(init=False, repr=False)
    _due: Due = field(init=False, repr=False)
    _gains: RewardFunction = field(init=False, repr=False)
    """The terms that a search environment does not pay on the last turn."""
    _closing: RewardFunction = field(init=False, repr=False)
    """Those that it pays there too."""

    def __post_init__(self) -> None:
        own = [(weight, term) for weight, term in self.reward.terms if term.name != ENVIRONMENT]
        for _, term in own:
            _check(term)
        for name, last in (("_gains", False), ("_closing", True)):
            terms = tuple((weight, term) for weight, term in own if term.last_turn == last)
            object.__setattr__(self, name, replace(self.reward, terms=terms))
        paid = tuple(
            (weight, term if term.last_turn else _paid_at_the_end(term)) for weight, term in self.reward.terms
        )
        object.__setattr__(self, "reward", replace(self.reward, terms=paid))
        instruments = Instruments(self.scorer, self.reference, protocol=TAGS.with_probe(self.probe))
        instruments.check(self.reward)
        object.__setattr__(self, "_instruments", instruments)
        object.__setattr__(self, "_due", instruments.due([self.reward]))

    @classmethod
    def of(
        cls,
        reward: str | RewardFunction,
        scorer: str | AnswerScorer | None,
        reference: str | AnswerScorer | None = None,
        probe: AnswerProbe = ANSWER_PROBE,
        environment: bool = False,
    ) -> Pricing:
        """From specs. With ``environment`` what an environment pays is a term of the reward: its outcome."""
        resolved = resolve_reward(reward)
        own = ((1.0, _OWN),) if environment else ()
        second = resolve_reference(reference, scorer) if "reference" in resolved.needs else None
        return cls(replace(resolved, terms=(*resolved.terms, *own)), resolve_scorer(scorer), second, probe)

    def measure(self, states: Sequence[State]) -> list[bool]:
        """Add to the episodes what is due of these states, those of an episode in their order, in one call to
        each model. Returns for each whether its transcript could be read; else the belief stays what it was.
        """
        readable = add_beliefs(self._instruments, states, self._due.views)
        self._due.note_measured(states)
        return readable

    def price(self, episode: Episode, turn: int, paid: float = 0.0) -> dict[str, float]:
        """The weighted terms of a turn for which the environment ``paid`` so much itself.

        Gains are priced as those of an episode that goes on; a turn without an observation has none.
        """
        if isinstance(episode.turns[turn - 1].action, Answer):
            earned = dict.fromkeys(self._gains.gains, 0.0)
        else:
            earned = self._gains.price(replace(episode, end=None), turn)
        earned |= self._closing.price(episode, turn)
        outcome = [term.name for _, term in self.reward.terms if term.outcome]
        return earned | dict.fromkeys(outcome, float(paid))


def _paid_at_the_end(term: RewardTerm) -> RewardTerm:
    """The term as it pays the last turn too, for the belief in the state behind it, if that was read."""

    def counts(episode: Episode, turn: int) -> bool:
        return not term.is_unread(episode, turn) and (term.counts is None or term.counts(episode, turn))

    return replace(term, last_turn=True, counts=counts)


def _check(term: RewardTerm) -> None:
    if term.outcome:
        raise SpecError(f"{term.name!r} is an outcome, but here the environment's own reward is the outcome")
    rewritten = any(view.rewritten for view in term.views)
    if rewritten or term.tools or term.searches or not term.needs <= {"scorer", "reference"}:
        raise SpecError(f"{term.name!r} needs what only a search environment has; take gain or log-gain")


_OWN = RewardTerm(
    ENVIRONMENT,
    lambda episode, turn: episode.rewards[turn - 1][ENVIRONMENT],
    outcome=True,
    formula="what the environment pays itself",
    source="the environment",
)


def opened(prompt: Sequence[Segment], answers: Any, question_id: str) -> Episode:
    """An episode on ``answers`` (a text, a number, several) that begins with these segments.

    Raises ValueError, which shows no answer, for what is no answer.
    """
    try:
        gold = answers_of(answers)
    except ValueError as problem:
        raise ValueError(f"the answers of {question_id!r} are {problem}") from None
    text = "".join(segment.text for segment in prompt)
    return Episode(Question(question_id, text, gold), tuple(prompt))


def turn_of(message: str, replies: Sequence[Segment], last: bool) -> Turn:
    """What an agent wrote and what it was told, as a turn; the ``last`` one without a reply is an answer."""
    said = Segment("agent", "assistant", message)
    if last and not replies:
        return Turn(message, Answer(message), (said,))
    observation = "".join(segment.text for segment in replies)
    action: Action = ToolCalls((ToolCall(CALL, {"text": message}),))
    return Turn(message, action, (said, *replies), (ToolResult(observation),), observation)


def end_of(turn: Turn) -> EndReason:
    """Why an episode ended with its last turn: only one without a reply is an answer."""
    return EndReason.ANSWERED if isinstance(turn.action, Answer) else EndReason.TURNS_EXHAUSTED


def information_gain(
    messages: Sequence[Mapping[str, Any]],
    answers: Any,
    scorer: str | AnswerScorer,
    *,
    reward: str | RewardFunction = "gain",
    reference: str | AnswerScorer | None = None,
    probe: AnswerProbe = ANSWER_PROBE,
) -> list[float]:
    """What each of the agent's messages in a conversation earned: the change of a model's belief.

    A turn is a message of the role ``assistant`` and all that follows it up to the next one; the messages
    before the first are the prompt. All states are asked in one pass over the whole conversation. A last
    message that nobody answered is paid 0. The gain of a turn behind what the scorer reads is not known: it
    is nan.

    Args:
        messages: in chat form, with ``role`` and ``content``, as any library writes them
            (:mod:`igpo_gym.protocols.messages`): calls beside a content are read behind it, as JSON between
            ``<tool_call>`` tags, thoughts before it, and contents in parts as their texts.
        answers: the gold answer, or a list of it and its aliases.
        scorer: the model whose belief it is, an object or a spec such as ``"nano"`` or a server's URL.
        reward: terms that need no search, such as ``log-gain`` or ``new-best``.
        reference: the frozen model that ``teacher-gain`` needs.
        probe: what is asked behind each state.

    Raises ValueError for a conversation without a message of the agent, or that begins with one, SpecError
    for a reward that needs more than beliefs, and ScoringError where a scorer fails.

    >>> told = [
    ...     {"role": "user", "content": "Where was Ira Goldman born? "},
    ...     {"role": "assistant", "content": "<search>Ira Goldman</search>"},
    ...     {"role": "user", "content": "Ira Goldman was born in Danzig."},
    ...     {"role": "assistant", "content": "<answer>Danzig</answer>"},
    ... ]
    >>> gains = information_gain(told, "Danzig", "nano")
    >>> len(gains), gains[-1]
    (2, 0.0)
    """
    return information_gains([messages], [answers], scorer, reward=reward, reference=reference, probe=probe)[
        0
    ]


def information_gains(
    conversations: Sequence[Sequence[Mapping[str, Any]]],
    answers: Sequence[Any],
    scorer: str | AnswerScorer,
    *,
    reward: str | RewardFunction = "gain",
    reference: str | AnswerScorer | None = None,
    probe: AnswerProbe = ANSWER_PROBE,
) -> list[list[float]]:
    """:func:`information_gain` of many conversations, all asked in one call to each model."""
    pricing = Pricing.of(reward, scorer, reference, probe)
    episodes = [
        _played(messages, gold, f"conversation {place}")
        for place, (messages, gold) in enumerate(zip(conversations, answers, strict=True))
    ]
    states = [(episode, turn) for episode in episodes for turn in range(_states(episode))]
    for (episode, turn), read in zip(states, pricing.measure(states), strict=True):
        if not read:
            episode.note_unread(turn)
    return [
        [
            math.nan if _is_unread(pricing, episode, turn) else sum(pricing.price(episode, turn).values())
            for turn in range(1, len(episode.turns) + 1)
        ]
        for episode in episodes
    ]


def _is_unread(pricing: Pricing, episode: Episode, turn: int) -> bool:
    """Whether a term asks about the state behind a turn, which could not be read. One that pays on last turns
    of itself pays the last one whatever state is behind it."""
    reward = pricing._gains if turn == len(episode.turns) else pricing.reward
    return any(term.is_unread(episode, turn) for _, term in reward.terms)


def _states(episode: Episode) -> int:
    """How many states have a belief: all but that of a last message without a reply."""
    return len(episode.turns) + (not isinstance(episode.turns[-1].action, Answer))


def _played(messages: Sequence[Mapping[str, Any]], answers: Any, name: str) -> Episode:
    segments = [_segment(message, f"message {place} of {name}") for place, message in enumerate(messages)]
    own = [place for place, segment in enumerate(segments) if segment.role == "assistant"]
    if not own or own[0] == 0:
        raise ValueError(f"{name} needs a prompt and a message of the role 'assistant' behind it")
    episode = opened(segments[: own[0]], answers, name)
    for start, stop in zip(own, [*own[1:], len(segments)], strict=True):
        replies = segments[start + 1 : stop]
        last = stop == len(segments)
        turn = turn_of(segments[start].text, replies, last)
        episode.append(turn, end_of(turn) if last else None)
    return episode


def _segment(message: Mapping[str, Any], name: str) -> Segment:
    if not isinstance(message, Mapping):
        raise ValueError(f"{name} is no object with role and content, but a {type(message).__name__}")
    read = said(message, name)
    return Segment("agent" if read.role == "assistant" else "environment", read.role, read.text)
