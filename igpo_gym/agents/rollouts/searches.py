"""What the searches of recorded episodes brought, and whether a gain tells a right answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from igpo_gym.agents.rollouts.summary import Values, beliefs_so_far, counted_searches
from igpo_gym.data.scores import RIGHT, Metric, recorded_score
from igpo_gym.episode import EndReason, Episode
from igpo_gym.statistics import SHARE, Estimate, auc, estimate, mean_over


@dataclass(slots=True)
class Searches:
    """Values of all searches (turns that called tools), and of the episodes that they belong to.

    The unit of every interval is the question of a set. An episode without beliefs is counted and adds no
    values; one of which nothing tells whether it is right, and one that was aborted, are counted apart.
    """

    episodes: int = 0
    right: int = 0
    """How many of them answered rightly."""
    unmeasured: int = 0
    """How many have no beliefs."""
    aborted: int = 0
    """How many are beside these: they were aborted, and are neither right nor wrong."""
    untold: int = 0
    """How many are beside these: their texts are hidden, and their records do not have the metric."""
    curves: dict[bool, dict[int, Values]] = field(default_factory=lambda: {True: {}, False: {}})
    """Of right and of wrong episodes, by turn (0: the prompt) the beliefs."""
    predictors: dict[str, dict[bool, Values]] = field(default_factory=dict)
    """By name what may tell a right answer, of right and of wrong episodes."""

    def gained(self) -> Estimate:
        """The share of the searches that raised the belief."""
        both = self.predictors.get(GAIN, {})
        values = [each for side in both.values() for each in side.values]
        units = [each for side in both.values() for each in side.questions]
        return mean_over([float(value > 0) for value in values], units, SHARE)

    def auc(self, predictor: str) -> Estimate:
        """The chance that the predictor is greater in a right episode than in a wrong one."""
        columns: dict[str, tuple[list[float], list[float]]] = {}
        for right, found in self.predictors.get(predictor, {}).items():
            for value, question in zip(found.values, found.questions, strict=True):
                columns.setdefault(question, ([], []))[not right].append(value)
        samples = [(np.array(positives), np.array(negatives)) for positives, negatives in columns.values()]
        return estimate(samples, auc, SHARE)

    def curve(self, right: bool) -> Iterator[tuple[int, Estimate]]:
        """The mean belief after each turn, over the episodes that got so far."""
        for turn, found in sorted(self.curves[right].items()):
            yield turn, mean_over(found.values, found.questions, SHARE)


GAIN, ALL_GAINS, LAST_BELIEF = "gain of a search", "all gains of an episode", "last belief"
PREDICTORS = (GAIN, ALL_GAINS, LAST_BELIEF)
"""What may tell a right answer: b_t - b_{t-1} of each search, b_T - b_0, and b_T."""


def searches(episodes: Iterable[tuple[str, Episode]], metric: str | Metric = "em") -> Searches:
    """Collect the values of ended episodes, each with the name of its set of questions.

    They are read one at a time. ``metric`` says whether an answer is right.

    >>> from igpo_gym.agents.policies import resolve_policy
    >>> from igpo_gym.agents.rollouts.collect import collect
    >>> from igpo_gym.config import EnvConfig
    >>> from igpo_gym.envs.setup import assemble
    >>> questions, engine = assemble(EnvConfig(questions="world:test", scorer="nano", reward="igpo"))
    >>> expert = resolve_policy("expert", questions, engine.protocol)
    >>> played = collect(engine, expert, questions.questions[:3])
    >>> found = searches((questions.name, episode) for episode in played)
    >>> found.right, round(found.gained().value, 2), [turn for turn, _ in found.curve(right=True)]
    (3, 0.86, [0, 1, 2, 3])
    """
    found = Searches()
    for name_of_set, episode in episodes:
        if episode.end is EndReason.ABORTED:
            found.aborted += 1
            continue
        reached = recorded_score(metric, episode)
        if reached is None:
            found.untold += 1
            continue
        right = reached >= RIGHT
        found.episodes += 1
        found.right += right
        found.unmeasured += not episode.beliefs
        question = f"{name_of_set}: {episode.question.id}"  # sets may share ids
        for turn, belief in beliefs_so_far(episode):
            found.curves[right].setdefault(turn, Values()).add(belief, question)
        for name, value in _values(episode):
            sides = found.predictors.setdefault(name, {True: Values(), False: Values()})
            sides[right].add(value, question)
    return found


def _values(episode: Episode) -> Iterator[tuple[str, float]]:
    beliefs = [belief.prob for belief in episode.beliefs]
    if not beliefs:
        return
    for number, _ in counted_searches(episode):
        if number < len(beliefs):  # what ends an episode has no belief after it
            yield GAIN, beliefs[number] - beliefs[number - 1]
    yield ALL_GAINS, beliefs[-1] - beliefs[0]
    yield LAST_BELIEF, beliefs[-1]
