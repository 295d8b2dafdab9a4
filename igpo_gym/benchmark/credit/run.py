"""The credit benchmark from beginning to end: play, price, measure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np

from igpo_gym.agents.interface import Policy
from igpo_gym.benchmark.credit.measures import (
    MEASURES,
    VALUE,
    Measure,
    Play,
    hop_measures,
    label_measures,
)
from igpo_gym.benchmark.credit.trajectories import (
    CONTROL,
    GROUP_AGENT,
    MAX_TURNS,
    Trajectory,
    play_cast,
)
from igpo_gym.benchmark.statistics import RESAMPLES, Estimate, FloatArray, estimate
from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs.completions import Completions
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import Passage, Question
from igpo_gym.protocols import TextProtocol
from igpo_gym.rewards import RewardFunction, resolve_reward
from igpo_gym.rewards.pricing import reprice
from igpo_gym.scorers import resolve_scorer
from igpo_gym.scorers.interface import AnswerScorer
from igpo_gym.search.interface import Retriever

VARIANTS = (
    "outcome-f1",
    "igpo",
    "igpo(context=evidence)",
    "igpo-logprob",
    "igpo-logprob(context=evidence)",
    "watermark",
    "potential",
    "tips",
    "ig-search",
    "redundancy",
    "evidence-recall",
    "monte-carlo",
)
"""What is compared unless it is said otherwise."""

VALUE_AGENTS = frozenset({"noisy", CONTROL, GROUP_AGENT})
"""On whose trajectories a policy is asked for values: it is costly. None of them hacks, since a policy that
reads a leaked answer does better for it."""

COST_QUESTIONS = 2
"""How many questions' trajectories are priced again, variant by variant, to see what each costs."""

Track: TypeAlias = Callable[[Iterable[Any], str, int], Iterable[Any]]
PolicyMaker: TypeAlias = Callable[[int], Policy]
"""From a seed to a policy whose draws differ from those of other seeds."""

Pays: TypeAlias = list[list[FloatArray | None]]
"""For each question and trajectory, a value for each turn; None where the trajectory was left out."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    questions: int = 60
    group_size: int = 4
    """Rollouts of a group, one group a question."""
    value_questions: int = 12
    """On how many of the questions a policy is asked for values."""
    completions: int = 16
    """How often it completes the episode for each value of the yardstick."""


FULL, QUICK = Size(), Size(questions=12, value_questions=2, completions=8)


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
    """For each question, its trajectories."""
    shaping: dict[str, Pays]
    """By variant, what each turn is paid beside the outcome."""
    measures: tuple[Measure, ...]
    estimates: dict[str, dict[str, Estimate]]
    """By measure and variant."""
    costs: dict[str, Cost] = field(default_factory=dict)
    oracles: frozenset[str] = frozenset()
    """The variants that read the gold evidence, and so the labels."""

    def measure(self, key: str) -> Measure:
        """The measure with this key."""
        return next(measure for measure in self.measures if measure.key == key)


@dataclass(frozen=True, slots=True)
class Pricer:
    """Prices trajectories with one set of models."""

    scorer: AnswerScorer | None
    reference: AnswerScorer | None
    engine: Engine
    corpus: Sequence[Passage]
    policy: Policy | None = None

    def price(
        self, trajectories: Sequence[Trajectory], functions: Sequence[RewardFunction]
    ) -> dict[str, list[FloatArray]]:
        """By variant and trajectory, the shaping of every turn; what several need is measured once."""
        priced = reprice(
            (each.episode for each in trajectories),
            functions,
            self.scorer,
            reference=self.reference,
            corpus=self.corpus,
            estimator=None if self.policy is None else Completions(self.engine, self.policy),
            protocol=self.engine.protocol,
        )
        pays: dict[str, list[FloatArray]] = {function.name: [] for function in functions}
        for episode in priced:
            for function in functions:
                pays[function.name].append(_shaping(function, episode.rewards[function.name]))
        return pays

    def cost(self, played: Sequence[Sequence[Trajectory]], function: RewardFunction) -> Cost:
        """What pricing these trajectories under one variant costs a turn, from an empty cache."""
        if clear := getattr(self.scorer, "clear", None):
            clear()
        before, begun = self._tokens_read(), time.perf_counter()
        turns = 0
        for trajectories in played:
            self.price(trajectories, [function])
            turns += sum(len(each.episode.turns) for each in trajectories)
        milliseconds = 1000 * (time.perf_counter() - begun) / turns
        return Cost((self._tokens_read() - before) / turns, milliseconds)

    def _tokens_read(self) -> float:
        stats = getattr(self.scorer, "stats", None)
        return float(stats.tokens_forwarded) if stats is not None else float("nan")


def _shaping(function: RewardFunction, turns: Sequence[dict[str, float]]) -> FloatArray:
    """What each turn is paid beside the outcome and the format penalty."""
    shaped = [term.name for _, term in function.terms if not term.outcome]
    return np.array([sum(terms[name] for name in shaped) for terms in turns], dtype=np.float64)


def untracked(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
    """The items, without a progress bar."""
    return items


def run_credit(
    questions: str | QuestionSet | Sequence[Question] = "world:test",
    scorer: str | AnswerScorer = "nano",
    rewards: Sequence[str | RewardFunction] = VARIANTS,
    size: Size = FULL,
    *,
    policy: PolicyMaker | None = None,
    search: str | Retriever | None = None,
    protocol: str | TextProtocol = "tags",
    top_k: int = 3,
    seed: int = 0,
    resamples: int = RESAMPLES,
    track: Track = untracked,
) -> CreditResult:
    """Measure how each of ``rewards`` pays the turns of the scripted agents' trajectories.

    The scorer is the frozen reference model too: no model is trained here. With a ``policy`` every variant is
    also held against the true value of the turns, as the policy's completions estimate it; without one,
    rewards that need a policy are left out. ``track`` is put around what takes long, with its name and
    number, to show how far it is.

    Raises SpecError for questions without gold evidence and for what else does not fit, ScoringError if a
    belief fails.
    """
    functions = [resolve_reward(reward) for reward in rewards]
    functions = [each for each in functions if policy is not None or "policy" not in each.needs]
    question_set, engine = assemble(questions, search, None, "outcome-f1", protocol, MAX_TURNS, top_k)
    judge = resolve_scorer(scorer)
    played = play_cast(engine, question_set, size.questions, size.group_size, seed)
    pricer = Pricer(judge, judge, engine, question_set.passages, policy and policy(seed))

    cheap = [each for each in functions if "policy" not in each.needs]
    costly = [each for each in functions if "policy" in each.needs]
    shaping: dict[str, Pays] = {function.name: [] for function in functions}
    for trajectories in track(played, "pricing", len(played)):
        for name, arrays in pricer.price(trajectories, cheap).items():
            shaping[name].append(list(arrays))
    valued = [[each.agent in VALUE_AGENTS and place < size.value_questions for each in group] for place, group in
              enumerate(played)]
    ...
