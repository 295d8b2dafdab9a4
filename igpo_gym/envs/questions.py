"""Which questions an environment asks: a seeded stream of them, and a book that finds them by id."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import Question


@dataclass(frozen=True, slots=True)
class QuestionStream:
    """An endless, seeded sequence of questions. Any place in it can be looked up.

    In the order "random" each is drawn uniformly, in "epoch" each comes once before any comes again.

    >>> questions = [Question(str(n), "?", ("a",)) for n in range(3)]
    >>> [QuestionStream(questions, seed=0, order="epoch")[place].id for place in range(6)]
    ['2', '0', '1', '2', '0', '1']
    """

    questions: Sequence[Question]
    seed: int
    group_size: int = 1
    """How many places in a row hold the same question."""
    order: str = "random"

    def __getitem__(self, place: int) -> Question:
        number, size = place // self.group_size, len(self.questions)
        if self.order == "epoch":
            epoch, number = divmod(number, size)
            return self.questions[_permutation(self.seed, epoch, size)[number]]
        block, number = divmod(number, _BLOCK)
        return self.questions[_drawn(self.seed, block, size)[number]]


_BLOCK = 32
"""How many questions of a seed are drawn at once: making a generator takes as long as all else of a reset."""


@lru_cache(maxsize=8192)
def _drawn(seed: int, block: int, size: int) -> tuple[int, ...]:
    """Kept for the resets that follow, and for the members of a group, which draw the same."""
    return tuple(np.random.default_rng((seed, block)).integers(size, size=_BLOCK).tolist())


@lru_cache(maxsize=16)
def _permutation(seed: int, epoch: int, size: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng((seed, epoch)).permutation(size).tolist())


def stream_seed(env: gym.Env[Any, Any] | VectorEnv[Any, Any, Any]) -> int:
    """The seed of an environment's questions, drawn from its generator where that was set without a seed."""
    seed = env.np_random_seed
    # Gymnasium's seed is -1 where the generator itself was set: then the generator decides, once.
    if seed is None or seed < 0:
        seed = int(env.np_random.integers(2**63))
        env._np_random_seed = seed
    return seed


def seeding(
    env: gym.Env[Any, Any] | VectorEnv[Any, Any, Any],
) -> tuple[np.random.Generator | None, int | None]:
    """An environment's generator and seed as they are, for who puts them back."""
    generator, seed = env._np_random, env._np_random_seed
    # From one that was set itself the seed is still to be drawn.
    return (copy.deepcopy(generator) if seed == -1 else generator), seed


class QuestionBook:
    """The questions of a set, by id.

    >>> book = QuestionBook(QuestionSet("one", (Question("q", "Where?", ("Danzig",)),)))
    >>> book.find("q").text
    'Where?'
    """

    def __init__(self, questions: QuestionSet) -> None:
        self.questions = questions.questions
        self._places = {question.id: place for place, question in enumerate(self.questions)}

    def find(self, question_id: str) -> Question:
        """The question with this id. Raises ValueError when there is none, TypeError for no text."""
        if not isinstance(question_id, str):
            raise TypeError(f"a question_id is a text, not a {type(question_id).__name__}")
        question = self.get(question_id)
        if question is None:
            raise ValueError(
                f"no question has the id {question_id!r}; the first of {len(self.questions)} is "
                f"{self.questions[0].id!r}"
            )
        return question

    def get(self, question_id: str) -> Question | None:
        """The question with this id; None where there is none."""
        place = self._places.get(question_id)
        return None if place is None else self.questions[place]


def forked_attempt(attempt: int, forks: int, group_size: int) -> int:
    """The number of the attempt that a fork is, which no attempt of its group and no earlier fork has.

    So a policy that draws by it says something else.

    >>> [forked_attempt(1, forks, group_size=4) for forks in (1, 2)]
    [5, 9]
    """
    return forks * group_size + attempt % group_size
