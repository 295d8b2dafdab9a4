"""What a retriever tells about itself stands in ``info``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

from igpo_gym.data import QuestionSet
from igpo_gym.envs.discrete import SearchQADiscreteEnv, SearchQADiscreteVectorEnv
from igpo_gym.envs.single import SearchQAEnv
from igpo_gym.envs.vector import SearchQAVectorEnv
from igpo_gym.episode import Passage

SEARCH, ANSWER = "<search>Odra</search>", "<answer>Odra</answer>"


class Telling:
    """A retriever with facts, one of them a text."""

    def __init__(self) -> None:
        self.queries = 0

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        self.queries += len(queries)
        return [[] for _ in queries]

    def facts(self) -> dict[str, str | int]:
        return {"dialect": "search-r1", "queries": self.queries}


def settings(question_set: QuestionSet, **more: Any) -> dict[str, Any]:
    return {"questions": question_set, "scorer": None, "reward": "outcome-f1", **more}


def test_single(question_set: QuestionSet) -> None:
    env = SearchQAEnv(**settings(question_set, search=Telling()))
    _, info = env.reset(seed=0)
    assert info["search"] == {"dialect": "search-r1", "queries": 0}
    *_, later = env.step(SEARCH)
    assert later["search"] == {"dialect": "search-r1", "queries": 1}
    assert info["search"]["queries"] == 0  # as of then


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_vector(question_set: QuestionSet, mode: str) -> None:
    envs = SearchQAVectorEnv(2, autoreset_mode=mode, **settings(question_set, search=Telling()))
    _, infos = envs.reset(seed=0)
    assert list(infos["search"]["dialect"]) == ["search-r1"] * 2
    *_, infos = envs.step([SEARCH, ANSWER])
    assert infos["search"]["queries"].tolist() == [1, 1]
    assert infos["search"]["_queries"].tolist() == [True, True]
    if mode == "SameStep":
        assert infos["final_info"]["search"]["queries"].tolist()[1] == 1


def test_the_vector_form_is_gymnasiums(question_set: QuestionSet) -> None:
    """As Gymnasium joins the infos of single environments."""
    ours = SearchQAVectorEnv(2, **settings(question_set, search=Telling()))
    theirs = SyncVectorEnv([lambda: SearchQAEnv(**settings(question_set, search=Telling()))] * 2)
    for envs in (ours, theirs):
        envs.reset(seed=0)
    *_, own = ours.step([SEARCH, SEARCH])
    *_, joined = theirs.step([SEARCH, SEARCH])
    assert own["search"].keys() == joined["search"].keys()
    for name, value in joined["search"].items():
        assert own["search"][name].dtype == value.dtype
    # The two share one retriever here, and have one each there; equal queries of a step are asked once.
    assert own["search"]["queries"].tolist() == joined["search"]["queries"].tolist() == [1, 1]


def test_discrete(question_set: QuestionSet) -> None:
    env = SearchQADiscreteEnv(slots=4, **settings(question_set, search=Telling()))
    assert env.reset(seed=0)[1]["search"]["queries"] == 0
    assert env.step(0)[4]["search"]["queries"] == 1
    envs = SearchQADiscreteVectorEnv(2, slots=4, **settings(question_set, search=Telling()))
    assert envs.reset(seed=0)[1]["search"]["queries"].tolist() == [0, 0]
    assert envs.step(np.array([0, 0]))[4]["search"]["dialect"].tolist() == ["search-r1"] * 2


def test_a_retriever_without_facts_adds_nothing(question_set: QuestionSet) -> None:
    env = SearchQAEnv(**settings(question_set))
    assert "search" not in env.reset(seed=0)[1]
    assert "search" not in env.step(SEARCH)[4]
    envs = SearchQAVectorEnv(2, **settings(question_set))
    assert "search" not in envs.reset(seed=0)[1]
    assert "search" not in envs.step([SEARCH] * 2)[4]


def test_a_step_whose_facts_fail_has_not_happened(question_set: QuestionSet) -> None:
    class Broken(Telling):
        def facts(self) -> dict[str, str | int]:
            if self.queries:
                raise ZeroDivisionError
            return {}

    env = SearchQAEnv(**settings(question_set, search=Broken()))
    env.reset(seed=0)
    envs = SearchQAVectorEnv(2, **settings(question_set, search=Broken()))
    envs.reset(seed=0)
    with pytest.raises(ZeroDivisionError):
        env.step(SEARCH)
    with pytest.raises(ZeroDivisionError):
        envs.step([SEARCH] * 2)
    assert env.episode is not None
    assert env.episode.turns == envs.episodes[0].turns == []


def test_an_environment_plays_from_a_cache(question_set: QuestionSet, tmp_path: Path) -> None:
    def played(cache: str) -> tuple[list[Any], dict[str, Any]]:
        env = gym.make("SearchQA-v0", **settings(question_set, search_cache=cache, tools="search + open"))
        seen = [env.reset(seed=0)[0]]
        info: dict[str, Any] = {}
        for message in (SEARCH, "<open>Odra</open>", SEARCH, ANSWER):
            observation, reward, *_, info = env.step(message)
            seen.append((observation, reward, info["messages"]))
        return seen, info["search"]

    recorded, counts = played(str(tmp_path))
    assert counts == {"cache_hits": 1, "cache_misses": 2}
    replayed, counts = played(f"replay:{tmp_path}")
    assert counts == {"cache_hits": 3, "cache_misses": 0}
    assert replayed == recorded
    assert "Wrocław" in recorded[2][0]


def test_a_pickled_environment_goes_on_with_its_cache(question_set: QuestionSet, tmp_path: Path) -> None:
    import pickle

    env = SearchQAEnv(**settings(question_set, search_cache=str(tmp_path)))
    env.reset(seed=0)
    env.step(SEARCH)
    other = pickle.loads(pickle.dumps(env))
    assert other.step(SEARCH)[4]["search"] == {"cache_hits": 1, "cache_misses": 0}
