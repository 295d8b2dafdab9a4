"""What a newcomer runs first: the environment with no argument, on the embedded world and model."""

from __future__ import annotations

import socket
import warnings

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

import igpo_gym  # noqa: F401
from igpo_gym.agents.policies.scripted import ScriptedAgent
from igpo_gym.data.world import load_world
from igpo_gym.envs import SearchQAVectorEnv


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the embedded default must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_it_needs_no_argument_and_passes_gymnasiums_check() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make("SearchQA-IGPO-v0").unwrapped)


def test_searching_for_the_evidence_raises_the_belief() -> None:
    envs = gym.make_vec("SearchQA-IGPO-v0", num_envs=16, oracle_info=True, autoreset_mode="Disabled")
    assert isinstance(envs, SearchQAVectorEnv)
    expert = ScriptedAgent("expert", load_world())
    single_hop = [question.id for question in load_world().questions if question.hops == 1][:16]
    _, infos = envs.reset(seed=0, options={"question_id": single_hop})
    before = infos["belief"].mean()
    _, rewards, _, _, infos = envs.step(expert.act(envs.episodes))
    assert infos["belief"].mean() > before + 0.1
    assert rewards.mean() > 0.1
    _, rewards, terminations, _, infos = envs.step(expert.act(envs.episodes))
    assert terminations.all()
    assert rewards.tolist() == infos["f1"].tolist() == [1.0] * 16
