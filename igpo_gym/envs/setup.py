"""From what a user writes in ``gym.make`` to an engine and its questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv

from igpo_gym import specs
from igpo_gym.data import resolve_questions
from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs.completions import NOTHING, Completions
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Question
from igpo_gym.lm.policy import Sampling
from igpo_gym.protocols import TextProtocol, resolve_protocol
from igpo_gym.rewards import RewardFunction, resolve_reward
from igpo_gym.scorers import resolve_reference, resolve_scorer
from igpo_gym.scorers.interface import AnswerScorer
from igpo_gym.search import BM25Index, resolve_search
from igpo_gym.search.interface import Retriever
from igpo_gym.text import without_credentials

if TYPE_CHECKING:
    from igpo_gym.lm.policy import Policy


@dataclass(frozen=True, slots=True)
class QuestionStream:
    """An endless, seeded sequence of questions, drawn uniformly. Any place in it can be looked up."""

    questions: Sequence[Question]
    seed: int
    group_size: int = 1
    """How many places in a row hold the same question."""

    def __getitem__(self, place: int) -> Question:
        generator = np.random.default_rng((self.seed, place // self.group_size))
        return self.questions[int(generator.integers(len(self.questions)))]


def stream_seed(env: gym.Env[Any, Any] | VectorEnv[Any, Any, Any]) -> int:
    """The seed of an environment's questions, drawn from its generator where that was set without a seed."""
    seed = env.np_random_seed
    # Gymnasium's seed is -1 where the generator itself was set: then the generator decides, once.
    if seed is None or seed < 0:
        seed = int(env.np_random.integers(2**63))
        env._np_random_seed = seed
    return seed


class WithoutCredentials:
    """An environment whose ``spec``, which Gymnasium sets, shows and stores, holds no passwords of URLs."""

    _spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """What ``gym.make`` made the environment from."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        if spec is not None:
            kwargs = {
                name: without_credentials(value) if isinstance(value, str) else value
                for name, value in spec.kwargs.items()
            }
            spec = replace(spec, kwargs=kwargs)
        self._spec = spec


class QuestionBook:
    """The questions of a set, by id."""

    def __init__(self, questions: QuestionSet) -> None:
        self.questions = questions.questions
        self._places = {question.id: place for place, question in enumerate(self.questions)}

    def find(self, question_id: str) -> Question:
        """The question with this id. Raises ValueError when there is none, TypeError for no text."""
        if not isinstance(question_id, str):
            raise TypeError(f"a question_id is a text, not {question_id!r:.60}")
        place = self._places.get(question_id)
        if place is None:
            raise ValueError(
                f"no question has the id {question_id!r}; the first of {len(self.questions)} is "
                f"{self.questions[0].id!r}"
            )
        return self.questions[place]


def check_options(options: dict[str, Any] | None, known: tuple[str, ...]) -> dict[str, Any]:
    """The options of a reset. Raises ValueError for one that is not known: it would go unheeded."""
    options = options or {}
    for name in options:
        if name not in known:
            raise ValueError(f"unknown reset option {name!r}; choose among: {', '.join(known)}")
    return options


def assemble(
    questions: str | QuestionSet | Sequence[Question] = "world",
    search: str | Retriever | None = None,
    scorer: str | AnswerScorer | None = "nano",
    reward: str | RewardFunction = "igpo",
    protocol: str | TextProtocol = "tags",
    max_turns: int = 6,
    top_k: int = 3,
    reference: str | AnswerScorer | None = None,
    policy: str | Policy | None = None,
) -> tuple[QuestionSet, Engine]:
    """The questions and the engine that these settings name; see :class:`igpo_gym.envs.single.SearchQAEnv`.

    Cheap settings are checked before expensive ones are loaded.
    """
    if policy is not None and not isinstance(policy, str):
        specs.checked("policy", policy)
    paid, grammar = resolve_reward(reward), resolve_protocol(protocol)
    question_set = resolve_questions(questions)
    if "evidence" in paid.needs:
        for question in question_set.questions:
            if not question.evidence:
                raise ValueError(
                    f"reward {paid.name!r} needs gold evidence, but question {question.id!r} of "
                    f"{question_set.name!r} names none"
                )
    retriever = resolve_search(search, question_set)
    sampler: Policy | None = None
    if policy is not None:
        told = {"questions": question_set, "protocol": grammar, "sampling": Sampling()}
        sampler = specs.resolve("policy", policy, **told)
    without = Engine(grammar, retriever, NOTHING, None, max_turns, top_k)
    engine = replace(
        without,
        reward=paid,
        scorer=resolve_scorer(scorer),
        reference=resolve_reference(reference, scorer) if "reference" in paid.needs else None,
        corpus=retriever if isinstance(retriever, BM25Index) else question_set.passages,
        estimator=None if sampler is None else Completions(without, sampler),
    )
    return question_set, engine
