"""Gymnasium's own checks, and those of Stable-Baselines3, over environments of random settings."""

from __future__ import annotations

import random
import warnings
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.env_match import check_environments_match
from gymnasium.vector import AutoresetMode

import igpo_gym
from igpo_gym.data.interface import QuestionSet
from igpo_gym.protocols import PROTOCOLS
from igpo_gym.search.bm25 import BM25Index
from tests.campaign.test_messages import Rounds
from tests.conftest import MentionScorer
from tests.envs.test_vector import MESSAGES

pytestmark = pytest.mark.campaign

NAMES = sorted(name for name in gym.registry if "SearchQA" in name)


@pytest.fixture
def made(question_set: QuestionSet, index: BM25Index) -> Any:
    """From a generator to an environment's name and random settings."""
    assert igpo_gym.__version__
    assert len(NAMES) >= 4

    def drawn(draw: random.Random) -> tuple[str, dict[str, Any]]:
        name = draw.choice(NAMES)
        settings = {
            "questions": question_set,
            "search": index,
            "scorer": MentionScorer(),
            "max_turns": draw.randrange(2, 6),
            "top_k": draw.randrange(1, 4),
            "group_size": draw.randrange(1, 3),
            "order": draw.choice(("random", "epoch")),
            "oracle_info": draw.random() < 0.5,
            "on_invalid": draw.choice(("continue", "end")),
        }
        if "Discrete" not in name:
            settings["protocol"] = draw.choice(sorted(PROTOCOLS))
        told = {key: value for key, value in settings.items() if isinstance(value, str | int)}
        print(name, told)
        return name, settings

    return drawn


def test_every_environment_passes_the_checks(rounds: Rounds, made: Any) -> None:
    for draw in rounds():
        name, settings = made(draw)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_env(gym.make(name, **settings).unwrapped)
        one, other = gym.make(name, **settings), gym.make(name, **settings)
        check_environments_match(one, other, num_steps=20, seed=draw.randrange(1000))


def test_vector_forms_are_what_single_environments_are(rounds: Rounds, made: Any) -> None:
    for draw in rounds():
        name, settings = made(draw)
        settings |= {"group_size": 1, "order": "random"}
        mode = draw.choice((AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP))
        count, seed = draw.randrange(1, 4), draw.randrange(1000)
        how: Any = {"num_envs": count, "autoreset_mode": mode, **settings}
        ours = gym.make_vec(name, vectorization_mode="vector_entry_point", **how)
        single = partial(gym.make, name, **settings)
        theirs = gym.vector.SyncVectorEnv([single] * count, autoreset_mode=mode)
        np.testing.assert_array_equal(ours.reset(seed=seed)[0], theirs.reset(seed=seed)[0])
        for _ in range(15):
            if "Discrete" in name:
                actions: Any = np.array([draw.randrange(ours.single_action_space.n) for _ in range(count)])  # type: ignore[attr-defined]
            else:
                actions = tuple(draw.choice(MESSAGES) for _ in range(count))
            one, other = ours.step(actions), theirs.step(actions)
            for mine, right in zip(one[:4], other[:4], strict=True):
                np.testing.assert_array_equal(mine, right)
            assert all(each in ours.single_observation_space for each in one[0])


def test_stable_baselines3_checks_the_discrete_form(rounds: Rounds, made: Any) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker", reason="needs the extra sb3")
    for draw in rounds():
        name, settings = made(draw)
        if "Discrete" in name:
            checker.check_env(gym.make(name, **settings))
