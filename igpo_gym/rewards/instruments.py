"""What rewards are computed from, and how it is measured: beliefs of language models, and instruments.

Reward terms say which beliefs and instruments they read; whatever is due after a step, for all terms and all
episodes, is asked in one call to each model and one to each instrument, each value once. Nothing is written
into an episode here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import igpo_gym.specs as specs
from igpo_gym.data.scores import JUDGE
from igpo_gym.episode import BELIEF, Belief, BeliefView
from igpo_gym.errors import PromptTooLongError, ScoringError
from igpo_gym.parameters import read_call
from igpo_gym.protocols import TAGS, ReplyLimits, TextProtocol
from igpo_gym.rewards.belief_requests import belief_request
from igpo_gym.rewards.functions import RewardFunction
from igpo_gym.rewards.interface import Instrument, State, instrument_needs
from igpo_gym.rewards.random_documents import found_documents
from igpo_gym.scorers.interface import AnswerScorer, ask_readable
from igpo_gym.search.interface import Corpus
from igpo_gym.tools.opening import PAGE_CHARS

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Due:
    """What has to be measured in every state."""

    views: tuple[BeliefView, ...] = ()
    instruments: Mapping[str, Instrument] = field(default_factory=dict)
    """By the name under which the terms read them."""

    def __bool__(self) -> bool:
        """Whether anything has to be measured."""
        return bool(self.views or self.instruments)

    @property
    def versions(self) -> dict[str, str]:
        """The version of each instrument."""
        return {name: instrument.version for name, instrument in self.instruments.items()}

    def note_measured(self, states: Sequence[State]) -> None:
        """Have the instruments measure these states, and note it in their episodes, those of one in order."""
        if self.instruments:
            measured = measure(states, self.instruments)
            for (episode, _), values in zip(states, measured, strict=True):
                episode.note(values, self.versions)


Beliefs = dict[BeliefView, Belief | None]
"""The beliefs of a state; None where the transcript was longer than the model reads."""


LOOKS = ((4, 1e-5), (16, 1e-4))
"""After how many beliefs one of them has been higher, where a scorer reads the questions: a belief is the
probability of an answer's token on average, and blind guesses among a few thousand tokens are about 1e-4."""


@dataclass(slots=True)
class Legibility:
    """Warns once where a scorer cannot read the questions: every gain is then 0 to three digits, for ever.

    >>> seen = Legibility()
    >>> seen.see([1e-7, 0.3])
    >>> seen.settled, seen.highest
    (True, 0.3)
    """

    count: int = 0
    highest: float = 0.0
    settled: bool = False
    """Whether it is known that the scorer reads the questions, or was said that it does not."""

    def see(self, probs: Sequence[float]) -> None:
        """Take the beliefs of further states, of prompts as of later ones."""
        if self.settled or not probs:
            return
        self.count += len(probs)
        self.highest = max(self.highest, *probs)
        unread = any(self.count >= count and self.highest < bound for count, bound in LOOKS)
        self.settled = unread or self.highest >= LOOKS[-1][1]
        if unread:
            logger.warning(
                "the scorer cannot read these questions: of the first %d beliefs in their answers none is "
                "above %.0e, so that gains say nothing. nano reads the generated world alone: take another "
                'scorer, such as "smollm2", a small real one (python -m igpo_gym.lm.smollm2 gets it), or a '
                "larger one by its folder, hub name or URL",
                *(self.count, self.highest),
            )


@dataclass(frozen=True, slots=True)
class Instruments:
    """What there is to measure with."""

    scorer: AnswerScorer | None = None
    reference: AnswerScorer | None = None
    """A frozen model; may be the scorer itself, if that is frozen."""
    corpus: Corpus = ()
    """Where random documents are drawn from."""
    protocol: TextProtocol = TAGS
    """The one that the episodes are played with."""
    context: Mapping[str, Any] = field(default_factory=dict)
    """What named instruments are made from beside these: an ``engine``, the ``questions``, a ``policy``, a
    ``judge``."""
    limits: ReplyLimits = field(default_factory=ReplyLimits)
    """How much the replies of the episodes show, for those that are written anew."""
    page_chars: int = PAGE_CHARS
    """How long the pages of their ``open`` are, for the same."""
    _reads: Legibility = field(default_factory=Legibility, init=False, repr=False, compare=False)

    def check(self, reward: RewardFunction) -> None:
        """Raise ValueError, with what to give, if the reward needs anything that is not there."""
        there = self._there
        for need, advice in _ADVICE.items():
            if need in reward.needs and need not in there:
                raise ValueError(f"reward {reward.name!r} needs {advice}")

    def due(self, rewards: Sequence[RewardFunction]) -> Due:
        """What can be measured here of all that these rewards read, each once.

        The plain belief and the verdicts of a judge that is there are due anyway.

        Raises SpecError for an instrument that does not exist or is none, and ValueError for two of one name.
        """
        terms = [term for reward in rewards for _, term in reward.terms]
        asked = [view for term in terms for view in term.views]
        # What is compared with random documents needs the real ones' belief too.
        views = [BELIEF, *(each for view in asked for each in (replace(view, draw=None), view))]
        judge = [JUDGE] if "judge" in self._there else []
        return Due(
            tuple(view for view in dict.fromkeys(views) if self.model(view) is not None),
            self._made([*judge, *(each for term in terms for each in term.instruments)]),
        )

    def model(self, view: BeliefView) -> AnswerScorer | None:
        """The model that a view asks."""
        return self.reference if view.model == "reference" else self.scorer

    def beliefs(self, states: Sequence[State], views: Sequence[BeliefView]) -> list[Beliefs]:
        """The beliefs of every state by all of ``views``, whose models must be there.

        Raises ScoringError when a scorer fails, PromptTooLongError when it cannot read a prompt, and
        ValueError when there are too few passages to draw from.
        """
        found: list[Beliefs] = [{} for _ in states]
        asked: dict[int, list[BeliefView]] = {}
        for view in views:
            asked.setdefault(id(self.model(view)), []).append(view)
        for of_one_model in asked.values():
            self._ask(states, of_one_model, found)
        plain = [beliefs.get(BELIEF) for beliefs in found] if self.scorer is not None else []
        self._reads.see([belief.prob for belief in plain if belief is not None])
        unread: dict[int, str] = {}
        for place, ((episode, turn), beliefs) in enumerate(zip(states, found, strict=True)):
            for view in views:
                if view.draw is not None and beliefs.get(view) is None:
                    beliefs[view] = beliefs[replace(view, draw=None)]
            if turn == 0 and None in beliefs.values():
                unread[place] = episode.question.id
        if unread:
            ids = tuple(unread.values())
            told = f"the prompt of {ids[0]!r}, with its longest answer, is longer than the scorer reads"
            raise PromptTooLongError(told, ids, tuple(unread))
        return found

    def _made(self, instruments: Sequence[Instrument | str]) -> dict[str, Instrument]:
        """Those of the instruments that can be had here, each once, by name."""
        there, made = self._there, dict[str, Instrument]()
        for each in instruments:
            if isinstance(each, str):
                if each not in made and instrument_needs(each) <= there.keys():
                    name, given = read_call(each)
                    maker = specs.maker("instrument", name)
                    one = specs.called(maker, f"the instrument {name!r}", "", given, there)
                    made[each] = specs.checked("instrument", one, each)
                continue
            same = made.setdefault(specs.checked("instrument", each).name, each)
            if (type(same), same.version) != (type(each), each.version):
                raise ValueError(f"two instruments have the name {each.name!r}")
        return made

    @property
    def _there(self) -> dict[str, Any]:
        """What there is, by the name under which rewards and named instruments ask for it."""
        own = {
            "scorer": self.scorer,
            "reference": self.reference,
            "corpus": self.corpus or None,
            "protocol": self.protocol,
        }
        return {name: thing for name, thing in {**own, **self.context}.items() if thing is not None}

    def _ask(self, states: Sequence[State], views: Sequence[BeliefView], found: Sequence[Beliefs]) -> None:
        """Ask for these views, all of one model, of all states."""
        model = self.model(views[0])
        assert model is not None
        asked = [
            (place, view)
            for place, (episode, turn) in enumerate(states)
            for view in views
            # Where no document was found, none is replaced.
            if view.draw is None or found_documents(episode, turn)
        ]
        requests = [
            belief_request(*states[place], view, self.protocol, self.corpus, self.limits, self.page_chars)
            for place, view in asked
        ]
        for (place, view), belief in zip(asked, ask_readable(model, requests), strict=True):
            if belief is not None and view.span == "tagged":
                belief = _summed(belief)
            found[place][view] = belief


def measure(states: Sequence[State], instruments: Mapping[str, Instrument]) -> list[dict[str, Any]]:
    """What each of the instruments measures of every state, in one call to each.

    Raises ValueError for an instrument that does not give a value for each state, and what it raises itself.
    """
    measured: list[dict[str, Any]] = [{} for _ in states]
    for name, instrument in instruments.items():
        values = instrument.measure(states)
        if len(values) != len(states):
            raise ValueError(f"the instrument {name!r} gave {len(values)} values for {len(states)} states")
        for own, value in zip(measured, values, strict=True):
            own[name] = value
    return measured


_ADVICE = {
    "scorer": "a scorer, but scorer=None",
    "reference": (
        "a frozen reference model: give reference=, a model as for scorer= (where the scorer is a packaged "
        "model, that is the reference unless another is given)"
    ),
    "corpus": (
        "a corpus to draw random documents from: questions that bring passages, or a local index such as "
        'search="bm25:INDEX"'
    ),
    "judge": 'a judge: give judge=, such as "http://host:8000/v1#model=NAME"',
    "questions": "the set of questions that the episodes are from (an environment has it)",
    "policy": 'a policy that completes the episodes: give policy=, such as "nano"',
}


def _summed(belief: Belief) -> Belief:
    """Means over tokens to sums. Raises ScoringError where the scorer does not tell the tokens' own."""
    if len(belief.token_log_probs) != len(belief.log_probs):
        raise ScoringError(
            "a sum over the answer's tokens is asked for, but the scorer's Belief does not tell their "
            "log-probabilities (token_log_probs)"
        )
    return replace(belief, log_probs=tuple(map(sum, belief.token_log_probs)))
