"""The credit benchmark from beginning to end: play, price, measure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np

from igpo_gym.benchmark.credit.measures import (
    MEASURES,
    VALUE,
    Measure,
    Play,
    hop_measures,
    label_measures,
)
from igpo_gym.benchmark.credit.trajectories import MAX_TURNS, Trajectory, play_cast
from igpo_gym.benchmark.statistics import RESAMPLES, Estimate, FloatArray, estimate
from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import Question
from igpo_gym.protocols import TextProtocol
from igpo_gym.rewards import PRESETS, RewardFunction, resolve_reward
from igpo_gym.rewards.pricing import reprice
from igpo_gym.scorers import resolve_scorer
from igpo_gym.scorers.interface import AnswerScorer
from igpo_gym.search.interface import Retriever

COST_QUESTIONS = 2
"""How many questions' trajectories are priced again, variant by variant, to see what each costs."""

APART = frozenset({"f1", "em", "format-penalty"})
"""The terms that are not shaping: the outcome, and the penalty for no outcome."""

Track: TypeAlias = Callable[[Iterable[Any], str, int], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    questions: int = 60
    group_size: int = 4
    """Rollouts of a group, one group a question."""
    value_questions: int = 12
    """On how many questions the true value of every state is estimated, if there is a policy."""
    completions: int = 16
    """How often the policy finishes the episode from each of those states."""


FULL, QUICK = Size(), Size(questions=12, group_size=4, value_questions=2, completions=8)


@dataclass(frozen=True, slots=True)
class Cost:
    """What pricing a turn costs, all of the variant's beliefs included, with nothing cached beforehand."""

    tokens: float
    """Tokens that the scorer reads for a turn; nan where the scorer does not tell."""
    milliseconds: float
    """On this machine."""


@dataclass(frozen=True, slots=True)
class CreditResult:
    """Everything that the benchmark found."""

    settings: dict[str, Any]
    """What was asked for."""
    questions: list[list[Trajectory]]
    shaping: dict[str, list[list[FloatArray]]]
    """By variant, what each turn of each trajectory of each question is paid."""
    measures: tuple[Measure, ...]
    estimates: dict[str, dict[str, Estimate]]
    """By measure and variant."""
    costs: dict[str, Cost] = field(default_factory=dict)
    oracles: frozenset[str] = frozenset()
    """The variants that read the gold evidence, and so the labels."""

    def measure(self, key: str) -> Measure:
        """The measure with this key."""
        return next(measure for measure in self.measures if measure.key == key)


def untracked(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
    """The items, without a progress bar."""
    return items


def run_credit(
    questions: str | QuestionSet | Sequence[Question] = "world:test",
    scorer: str | AnswerScorer = "nano",
    rewards: Sequence[str | RewardFunction] = tuple(PRESETS),
    size: Size = FULL,
    *,
    search: str | Retriever | None = None,
    protocol: str | TextProtocol = "tags",
    top_k: int = 3,
    seed: int = 0,
    resamples: int = RESAMPLES,
    track: Track = untracked,
) -> CreditResult:
    """Measure how each of ``rewards`` pays the turns of the scripted agents' trajectories.

    ``questions`` must name their gold evidence. ``track`` is put around what takes long, with its name and
    number, to show how far it is. Raises SpecError for what does not fit, ScoringError if a belief fails.
    """
    functions = [resolve_reward(reward) for reward in rewards]
    question_set, engine = assemble(questions, search, None, "outcome-f1", protocol, MAX_TURNS, top_k)
    judge = resolve_scorer(scorer)
    played = play_cast(engine, question_set, size.questions, size.group_size, seed)
    shaping: dict[str, list[list[FloatArray]]] = {function.name: [] for function in functions}
    for trajectories in track(played, "pricing", len(played)):
        for name, arrays in price(trajectories, functions, judge, engine.protocol).items():
            shaping[name].append(arrays)
    measures = (*MEASURES, *hop_measures(played), *label_measures())
    estimates = {
        measure.key: estimates_of(measure, played, shaping, resamples)
        for measure in track(measures, "measuring", len(measures))
    }
    costs = {
        function.name: cost(played[:COST_QUESTIONS], function, judge, engine.protocol)
        for function in track(functions, "timing", len(functions))
    }
    settings = {
        "questions": question_set.name,
        "scorer": scorer if isinstance(scorer, str) else type(scorer).__name__,
        "protocol": engine.protocol.name,
        "top_k": top_k,
        "seed": seed,
        "resamples": resamples,
        **asdict(size),
    }
    oracles = frozenset(function.name for function in functions if "evidence" in function.needs)
    return CreditResult(settings, played, shaping, measures, estimates, costs, oracles)


def price(
    trajectories: Sequence[Trajectory],
    functions: Sequence[RewardFunction],
    scorer: AnswerScorer | None,
    protocol: TextProtocol,
) -> dict[str, list[FloatArray]]:
    """By variant, the shaping of every turn of every trajectory; a belief that several need is asked once."""
    priced = reprice((each.episode for each in trajectories), functions, scorer, protocol=protocol)
    arrays: dict[str, list[FloatArray]] = {function.name: [] for function in functions}
    for episode in priced:
        for name, turns in episode.rewards.items():
            arrays[name].append(np.array([shaping_of(terms) for terms in turns]))
    return arrays


def shaping_of(terms: dict[str, float]) -> float:
    """What a turn is paid beside the outcome and the format penalty."""
    return sum(value for name, value in terms.items() if name not in APART)


def estimates_of(
    measure: Measure,
    played: Sequence[Sequence[Trajectory]],
    shaping: dict[str, list[list[FloatArray]]],
    resamples: int = RESAMPLES,
) -> dict[str, Estimate]:
    """The measure of each variant; questions that have nothing to say to it are left out."""
    estimates = {}
    for name, by_question in shaping.items():
        samples = [measure.sample(plays) for plays in all_plays(played, by_question)]
        samples = [sample for sample in samples if any(len(column) for column in sample)]
        estimates[name] = estimate(samples, measure.statistic, resamples)
    return estimates


def all_plays(
    played: Sequence[Sequence[Trajectory]], shaping: Sequence[Sequence[FloatArray]]
) -> Iterator[list[Play]]:
    """For each question, its trajectories with their pay."""
    for trajectories, arrays in zip(played, shaping, strict=True):
        yield [Play(trajectory, array) for trajectory, array in zip(trajectories, arrays, strict=True)]


def cost(
    played: Sequence[Sequence[Trajectory]],
    function: RewardFunction,
    scorer: AnswerScorer | None,
    protocol: TextProtocol,
) -> Cost:
    """What pricing these trajectories under one variant costs a turn, from an empty cache."""
    if clear := getattr(scorer, "clear", None):
        clear()
    before, begun = _tokens(scorer), time.perf_counter()
    turns = 0
    for trajectories in played:
        price(trajectories, [function], scorer, protocol)
        turns += sum(len(each.episode.turns) for each in trajectories)
    milliseconds = 1000 * (time.perf_counter() - begun) / turns
    return Cost((_tokens(scorer) - before) / turns, milliseconds)


def _tokens(scorer: AnswerScorer | None) -> float:
    """How many tokens the scorer has read so far."""
    stats = getattr(scorer, "stats", None)
    return float(stats.tokens_forwarded) if stats is not None else float("nan")
