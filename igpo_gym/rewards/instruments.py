"""What rewards are computed from, and how it is measured: beliefs of language models, values of a policy.

Reward terms say which beliefs they read; whatever is due after a step, for all terms and all episodes, is
asked in one call to each model, each belief once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

from igpo_gym.episode import BELIEF, Belief, BeliefView, Episode
from igpo_gym.errors import ScoringError, TranscriptTooLongError
from igpo_gym.protocols import TAGS, TextProtocol
from igpo_gym.rewards.beliefs import belief_request, found_documents
from igpo_gym.rewards.functions import RewardFunction
from igpo_gym.scorers.interface import AnswerScorer, BeliefRequest, ask
from igpo_gym.search.interface import Corpus

State: TypeAlias = tuple[Episode, int]
"""An episode as it was after so many turns."""


class ValueEstimator(Protocol):
    """Tells what outcome a policy has to expect."""

    def values(self, episodes: Sequence[Episode], completions: int) -> list[float]:
        """For each running episode the mean outcome of ``completions`` ways to complete it, in [0, 1].

        The episodes stay as they are.
        """
        ...


@dataclass(frozen=True, slots=True)
class Due:
    """What has to be measured in every state."""

    views: tuple[BeliefView, ...] = ()
    completions: tuple[int, ...] = ()
    """How many completions of a policy, for each value that is asked for."""

    def __bool__(self) -> bool:
        return bool(self.views or self.completions)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was measured in a state."""

    beliefs: dict[BeliefView, Belief | None] = field(default_factory=dict)
    """None where the transcript was longer than the model reads."""
    values: dict[int, float] = field(default_factory=dict)
    """By the number of completions."""

    def note(self, episode: Episode) -> bool:
        """Add it to the episode. A belief that could not be had stays what it was; returns whether all were.

        Raises ScoringError where there was none before.
        """
        beliefs: dict[BeliefView, Belief] = {}
        whole = True
        for view, belief in self.beliefs.items():
            if belief is None:
                whole = False
                if not (episode.beliefs or episode.views):
                    raise ScoringError(
                        f"the prompt of {episode.question.id!r} is longer than the scorer reads"
                    )
                belief = episode.belief(-1, view)
            beliefs[view] = belief
        plain = beliefs.pop(BELIEF, None)
        if plain is not None:
            episode.beliefs.append(plain)
        if beliefs:
            episode.views.append(beliefs)
        if self.values:
            episode.values.append(dict(self.values))
        return whole


@dataclass(frozen=True, slots=True)
class Instruments:
    """What there is to measure with."""

    scorer: AnswerScorer | None = None
    reference: AnswerScorer | None = None
    """A frozen model; may be the scorer itself, if that is frozen."""
    estimator: ValueEstimator | None = None
    corpus: Corpus = ()
    """Where random documents are drawn from."""
    protocol: TextProtocol = TAGS
    """The one that the episodes are played with."""

    def check(self, reward: RewardFunction) -> None:
        """Raise ValueError, with what to give, if the reward needs anything that is not there."""
        there = {
            "scorer": self.scorer is not None,
            "reference": self.reference is not None,
            "corpus": len(self.corpus) > 0,
            "policy": self.estimator is not None,
        }
        for need, advice in _ADVICE.items():
            if need in reward.needs and not there[need]:
                raise ValueError(f"reward {reward.name!r} needs {advice}")

    def due(self, rewards: Sequence[RewardFunction]) -> Due:
        """What can be measured here of all that these rewards read, each once; the plain belief anyway."""
        terms = [term for reward in rewards for _, term in reward.terms]
        asked = [view for term in terms for view in term.views]
        # What is compared with random documents needs the real ones' belief too.
        views = [BELIEF, *(each for view in asked for each in (replace(view, draw=None), view))]
        completions = [term.completions for term in terms if term.completions and self.estimator is not None]
        return Due(
            tuple(view for view in dict.fromkeys(views) if self.model(view) is not None),
            tuple(dict.fromkeys(completions)),
        )

    def model(self, view: BeliefView) -> AnswerScorer | None:
        """The model that a view asks."""
        return self.reference if view.model == "reference" else self.scorer

    def measure(self, states: Sequence[State], due: Due) -> list[Reading]:
        """A reading of every state. The models of all views of ``due`` must be there.

        Raises ScoringError when a scorer fails, and ValueError when there are too few passages to draw from.
        """
        readings = [Reading() for _ in states]
        asked: dict[int, list[BeliefView]] = {}
        for view in due.views:
            asked.setdefault(id(self.model(view)), []).append(view)
        for views in asked.values():
            self._ask(states, views, readings)
        for reading in readings:
            for view in due.views:
                if view.draw is not None and reading.beliefs.get(view) is None:
                    reading.beliefs[view] = reading.beliefs[replace(view, draw=None)]
        for completions in due.completions:
            self._estimate(states, completions, readings)
        return readings

    def _ask(self, states: Sequence[State], views: Sequence[BeliefView], readings: Sequence[Reading]) -> None:
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
        requests = [belief_request(*states[place], view, self.protocol, self.corpus) for place, view in asked]
        for (place, view), belief in zip(asked, believe(model, requests), strict=True):
            if belief is not None and view.span == "tagged":
                belief = _summed(belief)
            readings[place].beliefs[view] = belief

    def _estimate(self, states: Sequence[State], completions: int, readings: Sequence[Reading]) -> None:
        """Add the values of all states; an episode that has ended without an answer is worth nothing."""
        assert self.estimator is not None
        then = [episode.until(turn) for episode, turn in states]
        running = [place for place, episode in enumerate(then) if not episode.done]
        values = self.estimator.values([then[place] for place in running], completions)
        for reading in readings:
            reading.values[completions] = 0.0
        for place, value in zip(running, values, strict=True):
            readings[place].values[completions] = value


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
    "policy": "a policy that completes the episodes: give policy= (or igpo-gym relabel --policy)",
}


def believe(scorer: AnswerScorer, requests: Sequence[BeliefRequest]) -> list[Belief | None]:
    """The beliefs asked for; None for a transcript that is longer than the model reads."""
    if not requests:
        return []
    try:
        return list(ask(scorer, requests))
    except TranscriptTooLongError as problem:
        places = [place for place in range(len(requests)) if place not in problem.requests]
        if len(places) == len(requests):
            raise
        rest = dict(zip(places, believe(scorer, [requests[place] for place in places]), strict=True))
        return [rest.get(place) for place in range(len(requests))]


def _summed(belief: Belief) -> Belief:
    """Means over tokens to sums. Raises ScoringError where the scorer does not tell the tokens' own."""
    if len(belief.token_log_probs) != len(belief.log_probs):
        raise ScoringError(
            "a sum over the answer's tokens is asked for, but the scorer's Belief does not tell their "
            "log-probabilities (token_log_probs)"
        )
    return Belief(tuple(map(sum, belief.token_log_probs)), belief.token_log_probs)
