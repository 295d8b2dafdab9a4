"""A placebo: the belief in the answer of another question, which a turn's information does not concern.

It has all that information gain has (a language model is asked after every turn, the number moves with the
transcript), but for the information. A reward that trains as well with it owes nothing to the right answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.metrics import normalize
from igpo_gym.episode import Episode, Question
from igpo_gym.errors import DataError
from igpo_gym.protocols import TextProtocol
from igpo_gym.rewards.belief_requests import origin
from igpo_gym.rewards.gains import unless_last
from igpo_gym.rewards.interface import RewardTerm, State
from igpo_gym.scorers.interface import AnswerScorer, BeliefRequest, ask_readable


@dataclass(slots=True)
class Placebo:
    """The belief in the answer of another question of the same kind, as a probability (an ``Instrument``).

    The kind is the number of hops and :meth:`QuestionSet.kind`. Which question it is follows from the ids
    alone; no answer of it may be one of the question's own, compared in their normal forms. A state without a
    reply, or whose transcript is longer than the scorer reads, has the value of the state before.
    """

    scorer: AnswerScorer
    protocol: TextProtocol
    questions: QuestionSet
    name: str = "placebo"
    version: str = ""
    """Empty: the scorer may be a policy that learns, so recorded values are not those of now."""
    _pools: dict[tuple[int | None, str], list[Question]] = field(default_factory=dict, init=False)

    def measure(self, states: Sequence[State]) -> list[float]:
        """The belief of each state. DataError where no other question of the kind has another answer."""
        asked = [(place, *state) for place, state in enumerate(states) if state[1] < state[0].states]
        requests = [
            BeliefRequest(
                episode.context(turn),
                self.other(episode.question).answers,
                self.protocol.probe,
                origin(episode, turn),
            )
            for _, episode, turn in asked
        ]
        found = dict(zip((place for place, *_ in asked), ask_readable(self.scorer, requests), strict=True))
        values: list[float] = []
        for place, (episode, turn) in enumerate(states):
            belief = found.get(place)
            if belief is not None:
                values.append(belief.prob)
            elif place and states[place - 1][0] is episode:
                values.append(values[-1])
            else:
                values.append(_measured(episode, turn - 1, self.name))
        return values

    def other(self, question: Question) -> Question:
        """The question whose answer is asked for in the place of this one's."""
        kind = question.hops, self.questions.kind(question)
        if not self._pools:
            for each in sorted(self.questions.questions, key=lambda each: each.id):
                self._pools.setdefault((each.hops, self.questions.kind(each)), []).append(each)
        pool, own = self._pools.get(kind, []), set(map(normalize, question.answers))
        start = Random(f"{question.id}/placebo").randrange(max(1, len(pool)))
        for each in (*pool[start:], *pool[:start]):
            if own.isdisjoint(map(normalize, each.answers)):
                return each
        raise DataError(
            self.questions.name,
            f"no other question has {question.hops} hops, an answer of the kind {kind[1]!r} and another "
            f"answer than {question.id!r}: take more questions",
        )


def placebo_gain() -> RewardTerm:
    """The change of the probability of another question's answer.

    >>> placebo_gain().cost, sorted(placebo_gain().needs)
    ('placebo', ['questions', 'scorer'])
    """

    def change(episode: Episode, turn: int) -> float:
        return _measured(episode, turn, "placebo") - _measured(episode, turn - 1, "placebo")

    return RewardTerm(
        "placebo-gain",
        unless_last(change),
        instruments=("placebo",),
        formula="p_t - p_{t-1}, p_t the belief in the answer of another question of the same kind",
        source="a control",
    )


def _measured(episode: Episode, turn: int, name: str) -> float:
    return float(episode.measured[turn][name]) if 0 <= turn < len(episode.measured) else 0.0
