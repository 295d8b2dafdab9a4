"""The rows that TRL trains on, and the columns that an episode adds to its row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset

from igpo_gym.adapters.session import question_messages
from igpo_gym.adapters.tokens import split_fields
from igpo_gym.data.scores import METRICS, final_score
from igpo_gym.episode import Episode, Question
from igpo_gym.errors import SpecError
from igpo_gym.protocols import CHAT
from igpo_gym.rewards import RewardFunction, split


def dataset(**settings: Any) -> Dataset:
    """A row for every question: the prompt as messages, and the question's id beside it and in each of them.

    ``settings`` are the arguments of :class:`SearchQAEnv`; give the protocol that the rollouts have
    (``CHAT`` for :class:`Rollouts`, which is the default here too, ``NATIVE`` for the tools).
    """
    return Dataset.from_list(
        [
            {
                "prompt": [{**message, "question_id": question.id} for message in messages],
                "question_id": question.id,
            }
            for question, messages in question_messages(**{"protocol": CHAT, **settings})
        ]
    )


def question_id(prompt: Sequence[dict[str, str]]) -> str:
    """The question that a prompt of :func:`dataset` is about. Raises SpecError for another prompt."""
    named = prompt[-1].get("question_id") if prompt and isinstance(prompt[-1], dict) else None
    if not named:
        raise SpecError(
            "the prompts do not name their questions: train on igpo_gym.adapters.trl.dataset(...)"
        )
    return named


def attempts(questions: Sequence[Question]) -> list[int]:
    """The number of each attempt at its question, from 0, in a batch.

    >>> one, other = Question("1", "Where?", ("Danzig",)), Question("2", "Who?", ("Grass",))
    >>> attempts([one, one, other])
    [0, 1, 0]
    """
    count: Counter[str] = Counter()
    numbers = []
    for question in questions:
        numbers.append(count[question.id])
        count[question.id] += 1
    return numbers


def columns(episodes: Sequence[Episode], reward: RewardFunction) -> dict[str, list[Any]]:
    """What the episodes were paid, a column for each number.

    ``turn_gains``, ``outcome`` and ``last_gain`` are the split (:func:`igpo_gym.rewards.split.split`) that
    advantages are made of, ``turn_rewards`` what the environment paid, then the answers' scores: None for an
    episode that was aborted, which has none.
    """
    rows: list[Mapping[str, Any]] = [
        {
            **split_fields(split(episode, reward)),
            "turn_rewards": episode.turn_rewards,
            **{name: final_score(name, episode) for name in METRICS},
        }
        for episode in episodes
    ]
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def episode_reward(
    turn_rewards: Sequence[Sequence[float]],
    log_metric: Callable[[str, float], None] | None = None,
    **columns: Any,
) -> list[float]:
    """A reward function for TRL: the sum of the turns' rewards, and the answers' scores in its log."""
    for name in METRICS:
        known = [score for score in columns.get(name, ()) if score is not None]
        if log_metric is not None and known:
            log_metric(name, float(np.mean(known)))
    return [sum(rewards) for rewards in turn_rewards]
