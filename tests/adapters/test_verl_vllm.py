"""The policy as the scorer, behind verl's own vLLM server, load balancer and client, on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("verl.experimental.agent_loop.agent_loop", reason="verl is not installed")
pytest.importorskip("vllm.v1.engine.async_llm", reason="vLLM is not installed")

import ray
from hydra import compose, initialize_config_module
from safetensors.torch import load_file, save_file
from verl.experimental.agent_loop.agent_loop import DictConfigWrap
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.dataset.rl_dataset import RLHFDataset

from igpo_gym.adapters.verl import SearchAgentLoop, dataset
from igpo_gym.adapters.verl.cpu import VerlServer, small, vllm_server
from igpo_gym.adapters.verl.scorer import RolloutScorer, policy_request
from igpo_gym.agents.rollouts.records import read_rollouts
from igpo_gym.episode import Belief, Episode, Segment
from igpo_gym.lm.framing import Framing
from igpo_gym.protocols import ANSWER_PROBE, CHAT
from igpo_gym.rewards import resolve_reward, split
from igpo_gym.rewards.belief_requests import score_trajectories
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.local import TransformersScorer
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

NANO = REPOSITORY / "igpo_gym" / "models" / "nano"
WORLD = "world#documents=60,questions=10"
NEAR = 5e-3
"""How far two float32 engines are apart on a token at most, in nats: they add in other orders."""


class Rollout:
    """verl's server with a model, and the tokenizer and configuration that go with it."""

    def __init__(self, server: VerlServer, config: Any, folder: Path) -> None:
        self.server, self.config, self.folder = server, config, folder
        self.tokenizer = omega_conf_to_dataclass(config.actor_rollout_ref.model).tokenizer
        self.framing = Framing(self.tokenizer)

    def beliefs(self, requests: list[BeliefRequest]) -> tuple[list[Belief], int | None]:
        """The beliefs of the rollout server, and the version of its weights."""

        async def run() -> tuple[list[Belief], int | None]:
            ask = policy_request(self.server.client, "r")
            scorer = RolloutScorer(self.framing, ask, asyncio.get_running_loop())
            return await asyncio.to_thread(scorer.score, requests), scorer.weights

        return asyncio.run(run())

    def play(self, records: Path, **settings: Any) -> Episode:
        """An episode of the agent loop, played and scored by the server."""
        loop = SearchAgentLoop(
            trainer_config=DictConfigWrap(self.config),
            server_manager=self.server.client,
            tokenizer=self.tokenizer,
            processor=None,
            dataset_cls=RLHFDataset,
            data_config=DictConfigWrap(self.config.data),
            settings={"questions": WORLD, "scorer": "policy", "max_turns": 3, **settings},
            max_message_tokens=40,
            records=str(records),
        )
        row = dataset(questions=WORLD)[0]
        params = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "logprobs": True}
        asyncio.run(loop.run(params, **row))
        (episode,) = read_rollouts(next(records.glob("*.jsonl")))
        return episode


@pytest.fixture(scope="module", params=["nano", "SmolLM2-135M"])
def rollout(request: pytest.FixtureRequest) -> Iterator[Rollout]:
    folder = NANO if request.param == "nano" else request.getfixturevalue("smollm2")
    with initialize_config_module("verl.trainer.config", version_base=None):
        whole = compose("ppo_trainer", ["actor_rollout_ref.rollout.name=vllm"])
    config = small(whole, str(folder), prompt=512, response=1024, context=2048)
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        with vllm_server(config) as server:
            yield Rollout(server, config, folder)
    finally:
        ray.shutdown()


def local(folder: Path) -> TransformersScorer:
    return TransformersScorer.load(str(folder), "cpu")


def assert_equal(found: list[Belief], expected: list[Belief]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        for tokens, others in zip(one.token_log_probs, other.token_log_probs, strict=True):
            assert tokens == pytest.approx(others, abs=NEAR)


def requests() -> list[BeliefRequest]:
    """Transcripts of several lengths, aliases of several lengths."""
    text = "The Tin Drum is a novel of 1959 by Günter Grass, a writer born in Danzig. "
    return [
        BeliefRequest(
            (
                Segment("environment", "user", "Where was the author of The Tin Drum born? " + text * times),
                Segment("agent", "assistant", "<search>Günter Grass</search>"),
                Segment("environment", "user", text),
            ),
            ("Danzig", "Gdańsk", "the Free City of Danzig")[: 1 + times % 3],
            ANSWER_PROBE,
        )
        for times in range(8)
    ]


def test_beliefs_are_those_of_the_local_scorer_in_any_order(rollout: Rollout) -> None:
    expected = local(rollout.folder).score(requests())
    found, version = rollout.beliefs(requests())
    assert version == 0
    assert_equal(found, expected)
    assert_equal(rollout.beliefs(requests()[::-1])[0][::-1], expected)


def test_an_episode_is_scored_by_the_weights_that_played_it(rollout: Rollout, tmp_path: Path) -> None:
    episode = rollout.play(tmp_path / "records")
    assert len(episode.beliefs) == len(episode.turns) + 1 - episode.terminated
    (expected,) = score_trajectories(local(rollout.folder), [episode], CHAT.probe)
    assert_equal(episode.beliefs, expected)
    gains = split(episode, resolve_reward("igpo")).gains
    steps = list(pairwise(belief.prob for belief in expected))[: len(gains)]
    assert gains == pytest.approx([after - before for before, after in steps], abs=NEAR)
    assert {turn.segments[0].weights for turn in episode.turns} == {"0"}
    assert episode.extra["mixed_weights"] is False


# vLLM's CPU build repacks the wider matrices of SmolLM2 and drops what could be loaded into.
@pytest.mark.parametrize("rollout", ["nano"], indirect=True)
def test_new_weights_in_new_beliefs_out(rollout: Rollout, tmp_path: Path) -> None:
    weights = load_file(rollout.folder / "model.safetensors")
    changed = {
        name: value.float() * (1.1 if value.ndim == 2 and "embed" not in name else 1.0)
        for name, value in weights.items()
    }
    folder = tmp_path / "new"
    folder.mkdir()
    for file in rollout.folder.iterdir():
        if file.suffix == ".json":
            (folder / file.name).write_bytes(file.read_bytes())
    save_file(changed, folder / "model.safetensors", {"format": "pt"})
    before, _ = rollout.beliefs(requests())
    try:
        rollout.server.load(str(folder), version=7)
        found, version = rollout.beliefs(requests())
        assert version == 7
        assert_equal(found, local(folder).score(requests()))
        moved = [abs(one.log_prob - other.log_prob) for one, other in zip(before, found, strict=True)]
        assert min(moved) > 10 * NEAR
        episode = rollout.play(tmp_path / "records")
        assert {turn.segments[0].weights for turn in episode.turns} == {"7"}
        (expected,) = score_trajectories(local(folder), [episode], CHAT.probe)
        assert_equal(episode.beliefs, expected)
    finally:
        rollout.server.load(str(rollout.folder), version=0)
    again, _ = rollout.beliefs(requests())
    assert_equal(again, before)
