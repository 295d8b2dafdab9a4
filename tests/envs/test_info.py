"""How much ``info`` tells, and the columns that it becomes in a vector environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import VectorEnv
from hypothesis import given
from hypothesis import strategies as st

import igpo_gym  # noqa: F401
from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs import (
    NumericInfo,
    SearchQADiscreteEnv,
    SearchQAEnv,
    SearchQAVectorEnv,
    TranscriptObservation,
    VectorTranscriptObservation,
)
from igpo_gym.envs.info import columns
from igpo_gym.errors import SpecError
from igpo_gym.search.bm25 import BM25Index
from tests.conftest import MentionScorer

MESSAGES = ("<search>river</search>", "hm", "<answer>the port of Danzig</answer>")
TEXTS = {
    *("question_id", "messages", "evidence_match", "action", "problem", "tools", "queries"),
    *("passage_ids", "passage_titles", "reward_terms", "end_reason", "prediction"),
}


@pytest.fixture
def settings(question_set: QuestionSet, index: BM25Index, scorer: MentionScorer) -> dict[str, Any]:
    return {"questions": question_set, "search": index, "scorer": scorer, "max_turns": 5, "top_k": 2}


def played(env: SearchQAEnv) -> list[dict[str, Any]]:
    return [env.reset(seed=0)[1], *(env.step(message)[4] for message in MESSAGES)]


def test_metrics_are_the_numbers_of_the_full_info(settings: dict[str, Any]) -> None:
    full = played(SearchQAEnv(**settings))
    metrics = played(SearchQAEnv(**settings, info="metrics"))
    for all_of_it, numbers in zip(full, metrics, strict=True):
        assert numbers == {name: value for name, value in all_of_it.items() if name not in TEXTS}
        assert all(isinstance(value, (bool, int, float)) for value in numbers.values())
    assert metrics[0].keys() == {"turn", "belief", "belief_log_prob"}
    assert (metrics[2]["valid"], metrics[2]["turn"], metrics[3]["turn"]) == (False, 2, 3)
    assert metrics[3].keys() >= {"gain", "em", "f1", "cover_em", "tool_turns"}


def test_the_play_is_the_same(settings: dict[str, Any]) -> None:
    envs = [SearchQAEnv(**settings, info=info) for info in ("full", "metrics")]
    for env in envs:
        env.reset(seed=0)
    for message in MESSAGES:
        one, other = (env.step(message)[:4] for env in envs)
        assert one == other
    assert envs[0].episode == envs[1].episode  # records are made of it


def test_gold_is_told_on_request_and_facts_are_not(settings: dict[str, Any]) -> None:
    env = SearchQAEnv(**settings, info="metrics", oracle_info=True)
    _, info = env.reset(options={"question_id": "q-writer"})
    assert info["gold"] == {"answers": ("Heinrich Böll",), "evidence": ("böll",)}


def test_vector_and_discrete_forms(settings: dict[str, Any]) -> None:
    envs = SearchQAVectorEnv(2, **settings, info="metrics", autoreset_mode="SameStep")
    _, infos = envs.reset(seed=0)
    assert infos.keys() == {"turn", "_turn", "belief", "_belief", "belief_log_prob", "_belief_log_prob"}
    *_, infos = envs.step(["<answer>Danzig</answer>", "hm"])
    assert infos["turn"].tolist() == [0, 1]
    assert infos["final_info"]["turn"].tolist() == [1, 0]
    assert "messages" not in infos["final_info"]
    _, info = SearchQADiscreteEnv(slots=4, **settings, info="metrics").reset(seed=0)
    assert "messages" not in info
    assert info["action_mask"].any()


def test_gymnasium_finds_no_fault(settings: dict[str, Any]) -> None:
    env = gym.make("SearchQA-IGPO-v0", **settings, info="metrics", render_mode="ansi")
    check_env(env.unwrapped, skip_render_check=True)
    assert played(NumericInfo(env))[1]["turn"] == 1.0  # type: ignore[arg-type]


def test_what_shows_transcripts_needs_them(settings: dict[str, Any]) -> None:
    env = TranscriptObservation(SearchQAEnv(**settings, info="metrics"))
    with pytest.raises(ValueError, match="make the environment with info='full'"):
        env.reset(seed=0)
    envs = VectorTranscriptObservation(SearchQAVectorEnv(2, **settings, info="metrics"))
    with pytest.raises(ValueError, match="make the environment with info='full'"):
        envs.reset(seed=0)
    with pytest.raises(SpecError, match="unknown info 'all'; choose one of: full, metrics"):
        SearchQAEnv(**settings, info="all")


VALUES = {
    "turn": st.integers(0, 9),
    "valid": st.booleans(),
    "f1": st.floats(0, 1),
    "queries": st.lists(st.text(max_size=3), max_size=3).map(tuple),
    "messages": st.lists(st.dictionaries(st.just("role"), st.text(max_size=3)), max_size=2),
    "prediction": st.none() | st.text(max_size=3),
    "reward_terms": st.fixed_dictionaries({}, optional={"gain": st.floats(0, 1), "f1": st.floats(0, 1)}),
    "final_obs": st.text(max_size=3),
    "final_info": st.fixed_dictionaries({"turn": st.integers(0, 9)}, optional={"tools": st.just(("a", "b"))}),
}
COUNT = 5


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return (str(value.dtype), value.tolist()) if isinstance(value, np.ndarray) else value


@given(st.dictionaries(st.integers(0, COUNT - 1), st.fixed_dictionaries({}, optional=VALUES)))
def test_columns_are_those_that_gymnasium_makes(infos: dict[int, dict[str, Any]]) -> None:
    envs: VectorEnv[Any, Any, Any] = VectorEnv()
    envs.num_envs = COUNT
    expected: dict[str, Any] = {}
    for place, info in infos.items():
        expected = envs._add_info(expected, info, place)
    assert plain(columns(infos.items(), COUNT)) == plain(expected)
