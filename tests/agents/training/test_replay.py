"""Runs whose searches come from a cache, and batches in which search was down."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from igpo_gym import specs
from igpo_gym.agents.rollouts.records import to_record
from igpo_gym.agents.training import trainer
from igpo_gym.agents.training.logs import read_log
from igpo_gym.agents.training.run import Run
from igpo_gym.agents.training.settings import Settings
from igpo_gym.agents.training.trainer import train
from igpo_gym.data import resolve_questions
from igpo_gym.episode import Episode, Passage
from igpo_gym.errors import ReplayError, SearchError, SpecError
from igpo_gym.search import BM25Index
from tests.agents.training.test_trainer import SMALL, timeless, weights_differ
from tests.site import running


class Remote:
    """A retriever at a server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        answer = requests.post(self.url, json={"queries": list(queries), "k": k}, timeout=30).json()
        return [[Passage(*fields) for fields in passages] for passages in answer]


class Gone:
    """The same, once the machine is offline."""

    def __init__(self, url: str) -> None:
        raise AssertionError("a replay constructs no retriever")

    search = Remote.search


@pytest.fixture
def remote() -> Iterator[Any]:
    """A search server over the world that is trained in."""
    specs.register("search", "test-remote", Remote)
    index = BM25Index.build(resolve_questions(SMALL["questions"]).passages)

    def found(body: Any) -> Any:
        results = index.search(body["queries"], body["k"])
        return [[[p.id, p.title, p.text, p.score] for p in passages] for passages in results]

    with running({"/search": found}) as site:
        yield site
    specs.unregister("search", "test-remote")


@pytest.fixture
def trajectories(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The records of all episodes that runs learn from."""
    records: list[dict[str, Any]] = []

    class Watched(Run):
        def rollouts(self) -> list[Episode]:
            episodes = super().rollouts()
            records.extend(to_record(episode, self.engine.reward) for episode in episodes)
            return episodes

    monkeypatch.setattr(trainer, "Run", Watched)
    return records


def test_a_recorded_run_replays_offline_to_the_same_trajectories(
    remote: Any, trajectories: list[dict[str, Any]], tmp_path: Path
) -> None:
    url = f"{remote.url}/search"
    base = {**SMALL, "updates": 2, "learning_rate": 0.001, "search": f"test-remote:{url}"}
    counts = train(tmp_path / "recorded", Settings(**base, search_cache=str(tmp_path / "cache")))
    asked = [query for body in remote.posts() for query in body["queries"]]
    assert counts["cache_misses"] == len(asked) > 0
    recorded = list(trajectories)
    assert len(recorded) == 2 * SMALL["batch_questions"] * SMALL["group_size"]  # type: ignore[operator]

    specs.register("search", "test-remote", Gone)
    trajectories.clear()
    replay = Settings(**base, search_cache=f"replay:{tmp_path / 'cache'}")
    again = train(tmp_path / "replayed", replay)
    assert again == {"cache_hits": counts["cache_hits"] + counts["cache_misses"], "cache_misses": 0}
    assert trajectories == recorded
    assert [query for body in remote.posts() for query in body["queries"]] == asked
    first, second = (read_log(tmp_path / name / "log.jsonl") for name in ("recorded", "replayed"))
    assert timeless(second) == timeless(first)
    for file in ("last/model.safetensors", "best/model.safetensors"):
        assert (tmp_path / "replayed" / file).read_bytes() == (tmp_path / "recorded" / file).read_bytes()

    # Another run asks something else, and must not be told that search is unavailable.
    with pytest.raises(ReplayError, match=f"no answer of test-remote:{url} to the query"):
        train(tmp_path / "other", replace(replay, seed=1))


@pytest.mark.slow
def test_a_run_goes_on_with_another_cache(remote: Any, tmp_path: Path) -> None:
    base = {**SMALL, "updates": 2, "validate_every": 1, "search": f"test-remote:{remote.url}/search"}
    train(tmp_path / "run", Settings(**{**base, "updates": 1}))
    counts = train(tmp_path / "run", Settings(**base, search_cache=str(tmp_path / "cache")))
    assert counts["cache_misses"] > 0
    replay = Settings(**base, search_cache=f"replay:{tmp_path / 'cache'}")
    assert train(tmp_path / "run", replay) == {"cache_hits": 0, "cache_misses": 0}  # nothing is left to play
    assert [line["update"] for line in read_log(tmp_path / "run" / "log.jsonl")] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"other settings \(top_k\)"):
        train(tmp_path / "run", replace(replay, top_k=2))


def test_a_cache_that_is_none_is_told_before_anything_is_loaded() -> None:
    with pytest.raises(SpecError, match="names no folder"):
        Settings(search_cache="replay:")


class Backend:
    """Finds nothing, or is down."""

    def __init__(self, place: str) -> None:
        self.down = place == "down"

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        if self.down:
            raise SearchError("down")
        return [[] for _ in queries]


def run_with(search: str, out: Path, **settings: Any) -> Run:
    run = Run(
        out, Settings(**{**SMALL, **settings}, search=f"{__name__}:Backend:{search}", learning_rate=0.01)
    )
    run.engine = replace(run.engine, retry_delays=())
    return run


def test_a_batch_of_outages_is_not_learned_from(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = run_with("down", tmp_path)
    before = run.trained.copy()
    with caplog.at_level(logging.WARNING):
        metrics = run.update()
    searched = metrics["outage_share"]
    assert searched > 0.25
    assert metrics["batches_skipped"] == 1.0
    assert run.updates == 1
    assert not weights_differ(run.model, before)
    assert not run.optimizer.state
    assert "loss" not in metrics
    assert f"update 1 is not learned from: a tool was unavailable in {100 * searched:.0f}%" in caplog.text
    assert "max_outage_share is 25%" in caplog.text


@pytest.mark.parametrize(("search", "share"), [("up", 0.0), ("down", 1.0)])
def test_a_batch_with_as_many_outages_as_are_allowed_is_learned_from(
    search: str, share: float, tmp_path: Path
) -> None:
    run = run_with(search, tmp_path, max_outage_share=share)
    metrics = run.update()
    assert metrics["batches_skipped"] == 0.0
    assert (metrics["outage_share"] > 0) == (search == "down")
    assert run.optimizer.state
    assert math.isfinite(metrics["loss"])


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_one(share: float) -> None:
    with pytest.raises(SpecError, match=r"max_outage_share must be (between 0 and 1|a finite number)"):
        Settings(max_outage_share=share)
