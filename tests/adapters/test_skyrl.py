from __future__ import annotations

import pytest

pytest.importorskip("skyrl_gym", reason="SkyRL-gym is not installed")

import skyrl_gym
from omegaconf import OmegaConf

from igpo_gym.adapters.skyrl import ENVIRONMENT, SearchQA, dataset
from igpo_gym.protocols import CHAT
from tests.adapters.episodes import QUESTION, settings


def test_rows_make_environments() -> None:
    given = settings(CHAT)
    rows = dataset(**given)
    assert [row["question_id"] for row in rows] == ["q-author", "q-birth", "q-river", "q-writer"]
    for row in rows:
        extras = {name: value for name, value in row.items() if name not in ("prompt", "env_class")}
        env = skyrl_gym.make(row["env_class"], env_config=given, extras=extras)
        messages, info = env.init(row["prompt"])
        assert messages == row["prompt"]
        assert info["question_id"] == row["question_id"]


def test_a_configuration_of_texts_is_enough() -> None:
    config = OmegaConf.create(
        {"questions": "world#documents=60,questions=10", "scorer": None, "reward": "f1"}
    )
    one, other = (skyrl_gym.make(ENVIRONMENT, env_config=config, extras={}) for _ in range(2))
    one.init([])
    assert one.max_turns == 6
    assert one._env.engine is other._env.engine


def test_scores_of_an_ended_episode_are_its_metrics() -> None:
    env = SearchQA(settings(CHAT), {"question_id": QUESTION})
    env.init([])
    env.step("<search>Grass</search>")
    assert env.get_metrics() == {}
    env.step("<answer>Danzig</answer>")
    assert env.get_metrics() == {"em": 1.0, "f1": 1.0, "cover_em": 1.0, "tool_turns": 1}
    assert SearchQA.aggregate_metrics([env.get_metrics()])["em"] == 1.0
