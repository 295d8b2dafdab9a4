"""The dry run of verl's example: it passes where all is right, and names what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("verl.experimental.agent_loop.agent_loop", reason="verl is not installed")
pytest.importorskip("transfer_queue", reason="TransferQueue is not installed")

from omegaconf import OmegaConf
from typer.testing import CliRunner

from igpo_gym.adapters.tokens import placed_rewards
from igpo_gym.adapters.verl.check import SeenEpisode, line_of, main
from igpo_gym.cli import app
from igpo_gym.episode import Answer, EndReason, Episode, Question, Turn
from igpo_gym.rewards import resolve_reward, split
from igpo_gym.tools import search_call
from tests.conftest import REPOSITORY

NANO = REPOSITORY / "igpo_gym" / "models" / "nano"
WORLD = "world#documents=60,questions=30"


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with data for verl and an agent loop on it."""
    settings = {"questions": WORLD, "protocol": "tags", "max_turns": 4}
    target = "igpo_gym.adapters.verl.SearchAgentLoop"
    loop = {"name": "searchqa", "_target_": target, "recipe": "paper", "settings": settings}
    OmegaConf.save(OmegaConf.create([loop]), tmp_path / "world.yaml")
    prepare = ["data", "prepare", WORLD, "--format", "verl", "--validation-size", "10"]
    made = CliRunner().invoke(app, [*prepare, "--out", str(tmp_path / "data")])
    assert made.exit_code == 0, made.output
    return tmp_path


def arguments(workplace: Path, *changes: str) -> list[str]:
    return [
        f"data.train_files={workplace / 'data' / 'train.parquet'}",
        f"data.val_files={workplace / 'data' / 'validation.parquet'}",
        f"actor_rollout_ref.model.path={NANO}",
        "actor_rollout_ref.actor.use_dynamic_bsz=True",
        "actor_rollout_ref.rollout.name=vllm",
        "actor_rollout_ref.rollout.tensor_model_parallel_size=1",
        "actor_rollout_ref.rollout.agent.default_agent_loop=searchqa",
        f"actor_rollout_ref.rollout.agent.agent_loop_config_path={workplace / 'world.yaml'}",
        "algorithm.adv_estimator=igpo-joint",
        *changes,
    ]


MISTAKES = {
    "actor_rollout_ref.rollout.tensor_model_parallel_size=3": "cannot be divided among replicas",
    "actor_rollout_ref.rollout.agent.default_agent_loop=searchqu": "has no loop 'searchqu'; it has searchqa",
    "algorithm.adv_estimator=igpo-joint-last": "set algorithm.adv_estimator to igpo-joint, not",
    "algorithm.use_kl_in_reward=True": "writes a penalty onto the tokens",
    "actor_rollout_ref.model.path=/no/such/model": "/no/such/model",
    "data.val_files=/no/such.parquet": "/no/such.parquet",
    "data.max_prompt_length=16": "but data.max_prompt_length is 16",
    "trainer.use_v1=False": "the older trainer sees the sum of an episode's",
    "actor_rollout_ref.actor.no_such=1": "no_such",
}


def test_a_turn_without_a_gain_is_told() -> None:
    """A search under a reward that counts opened pages alone, as that of DR-Venus does."""
    reward = resolve_reward("log-gain(tools=open) + f1")
    episode = Episode(Question("q", "Where?", ("Danzig",)), ())
    episode.append(Turn("a", search_call("Danzig")))
    episode.append(Turn("b", Answer("Danzig")), EndReason.ANSWERED)
    episode.rewards += [{reward.gains[0]: 0.0, "f1": 0.0}, {reward.gains[0]: 0.0, "f1": 1.0}]
    mask = np.array([True, True, False, True, True])
    seen = placed_rewards(mask, split(episode, reward), "q")
    assert line_of(SeenEpisode(episode, mask, seen), reward) == (
        "episode 1: 2 turns, answered, gains [none], outcome 1: 1 of 4 tokens of the policy carry them in "
        "token_level_rewards"
    )


@pytest.mark.parametrize("change", MISTAKES)
def test_a_mistake_ends_the_dry_run_by_name(
    change: str, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(workplace, change)) == 1
    (failed,) = (line for line in capfd.readouterr().out.splitlines() if line.startswith("FAILED"))
    assert MISTAKES[change] in failed


@pytest.mark.slow
def test_the_dry_run_plays_two_episodes_on_this_machine(workplace: Path) -> None:
    pytest.importorskip("vllm.v1.engine.async_llm", reason="vLLM is not installed")
    given = {"LOOP": str(workplace / "world.yaml"), "DATA": str(workplace / "data"), "MODEL": str(NANO)}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        [REPOSITORY / "examples" / "verl" / "run.sh", "--check", "data.train_batch_size=4"],
        env={**os.environ, **given, "PATH": path, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    told = [line for line in ran.stdout.splitlines() if line.startswith(("ok", "FAILED", "passed"))]
    assert ran.returncode == 0, "\n".join([*told, ran.stderr[-2000:]])
    assert [line.split(":")[0] for line in told if line.startswith("ok  episode")] == [
        "ok  episode 1",
        "ok  episode 2",
    ]
    assert "tokens of the policy carry them in token_level_rewards" in told[-2]
    assert told[-1].startswith("passed in")
