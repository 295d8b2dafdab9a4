from __future__ import annotations

import pytest

pytest.importorskip("skyrl_gym", reason="SkyRL-gym is not installed")

import skyrl_gym
from omegaconf import OmegaConf

from igpo_gym.adapters.skyrl import ENVIRONMENT, SearchQA, dataset
from igpo_gym.errors import SpecError
from igpo_gym.protocols import CHAT
from tests.adapters.episodes import QUESTION, settings
from tests.conftest import QUESTIONS


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
    extras = {"question_id": dataset(**config)[0]["question_id"]}
    one, other = (skyrl_gym.make(ENVIRONMENT, env_config=config, extras=extras) for _ in range(2))
    one.init([])
    assert one.max_turns == 6
    assert one._env.engine is other._env.engine


def test_the_metrics_are_the_scores_and_an_episode_that_skyrl_cuts_has_no_answer() -> None:
    env = SearchQA(settings(CHAT), {"question_id": QUESTION})
    assert env.get_metrics() == {}
    env.init([])
    env.step("<search>Grass</search>")
    cut = env.get_metrics()
    assert cut == {"em": 0.0, "f1": 0.0, "cover_em": 0.0, "tool_turns": 1, "context_exhausted": 1.0}
    env.step("<answer>Danzig</answer>")
    ended = env.get_metrics()
    assert ended == {"em": 1.0, "f1": 1.0, "cover_em": 1.0, "tool_turns": 1, "context_exhausted": 0.0}
    assert SearchQA.aggregate_metrics([cut, ended])["em"] == 0.5


def test_a_name_that_a_field_can_have() -> None:
    assert ENVIRONMENT.isidentifier()


def test_the_row_decides_question_and_turns() -> None:
    given = settings(CHAT)
    env = skyrl_gym.make(ENVIRONMENT, env_config=given, extras={"question_id": QUESTION, "max_turns": 1})
    env.init([])
    assert env.max_turns == 1
    assert env.step("<search>Grass</search>")["done"]
    with pytest.raises(SpecError, match="the row names no question"):
        SearchQA(given)
    with pytest.raises(ValueError, match="no question has the id 'q-other'"):
        SearchQA(given, {"question_id": "q-other"}).init([])


def test_questions_may_be_a_list() -> None:
    given = settings(CHAT, questions=list(QUESTIONS))
    env = skyrl_gym.make(ENVIRONMENT, env_config=given, extras={"question_id": QUESTION})
    assert env.init([])[1]["question_id"] == QUESTION
