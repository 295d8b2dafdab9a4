"""verl's v1 trainer on this machine: its worker, its queue and its advantage step, without a GPU."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("transfer_queue", reason="TransferQueue is not installed")
pytest.importorskip("verl.trainer.ppo.v1.agent_loop_tq", reason="verl is not installed")

import ray
import torch
import transfer_queue as tq
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ
from verl.trainer.ppo.v1.trainer_base import PPOTrainer

from igpo_gym.adapters.verl import dataset
from igpo_gym.agents.training.estimators import Split, Turns, resolve_estimator
from tests.adapters.scripted import ScriptedServer
from tests.lm.tiny import make_model

WORLD = "world#documents=60,questions=10"
RIGHT = ["<search>capital</search>", "<answer>x</answer>"]
WRONG = ["I do not know.", "<search>river</search>", "<answer>x</answer>"]


class TwoScripts(ScriptedServer):
    """Every other episode follows another script."""

    async def generate(self, request_id: str, **request: object) -> object:
        first = self.turns.setdefault(request_id, 0) == 0
        self.script = WRONG if list(self.turns).index(request_id) % 2 else RIGHT
        assert first or self.turns[request_id] < len(self.script)
        return await super().generate(request_id, **request)


@pytest.mark.slow
def test_turn_rewards_become_turn_advantages(tmp_path: Path) -> None:
    server = TwoScripts(RIGHT)
    server.tokenizer.pad_token = "<|im_end|>"
    server.tokenizer.save_pretrained(tmp_path / "model")
    make_model("llama").save_pretrained(tmp_path / "model")
    settings = {"questions": WORLD, "scorer": "nano", "max_turns": 4}
    loops = [{"name": "searchqa", "_target_": "igpo_gym.adapters.verl.SearchAgentLoop", "settings": settings}]
    OmegaConf.save(OmegaConf.create(loops), tmp_path / "loops.yaml")
    changes = {
        "algorithm.adv_estimator": "igpo-separate",
        "algorithm.rollout_correction": "null",
        "actor_rollout_ref.model.path": tmp_path / "model",
        "actor_rollout_ref.rollout.name": "vllm",
        "actor_rollout_ref.rollout.n": 2,
        "actor_rollout_ref.rollout.agent.agent_loop_config_path": tmp_path / "loops.yaml",
        "actor_rollout_ref.rollout.response_length": 1200,
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
    }
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", [f"{name}={value}" for name, value in changes.items()])
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)
    try:
        tq.init(config.transfer_queue)
        # The class behind the Ray actor, in this process: its inference client is scripted.
        worker = AgentLoopWorkerTQ.__ray_metadata__.modified_class(config, server)
        trajectory = {"step": 1, "sample_index": 0, "rollout_n": 0, "validate": False}

        async def play() -> None:
            for place, row in enumerate(dataset(questions=WORLD)[:2]):
                prompt = {
                    "uid": f"u{place}",
                    "raw_prompt": row["prompt"],
                    "extra_info": row["extra_info"],
                    "agent_name": row["agent_name"],
                    "global_steps": 1,
                }
                await worker._run_prompt(prompt, {"temperature": 1.0}, trajectory)

        asyncio.run(play())
        keys = [f"u{place}_{attempt}_0" for place in range(2) for attempt in range(2)]
        batch = tq.KVBatchMeta(keys=keys, partition_id="train", tags=[{}] * 4)
        PPOTrainer._compute_advantage(SimpleNamespace(config=config), batch, {})
        fields = ["advantages", "response_mask", "rm_scores", "extra_fields"]
        data = tq.kv_batch_get(keys=keys, partition_id="train", select_fields=fields)
        rewards = [list(data["extra_fields"][row]["turn_scores"]) for row in range(4)]
        assert sorted(map(len, rewards)) == [2, 2, 3, 3]
        # A wrong answer, at times with a malformed message before: f1 of "x" is 0 in the world.
        malformed = [sum(own) < -1 for own in rewards]
        splits = [
            Split(tuple(gain + 2.0 * (bad and not place) for place, gain in enumerate(own[:-1])), -2.0 * bad)
            for own, bad in zip(rewards, malformed, strict=True)
        ]
        assert sorted(malformed) == [False, False, True, True]
        turns = Turns.of(splits, ["u0", "u0", "u1", "u1"])
        expected = iter(resolve_estimator("igpo-separate")(turns))
        for row, own in enumerate(rewards):
            mask = data["response_mask"][row].bool()
            starts = mask & ~torch.nn.functional.pad(mask, (1, 0))[:-1]
            turn = starts.cumsum(0) - 1
            assert int(starts.sum()) == len(own)
            assert data["rm_scores"][row].sum().item() == pytest.approx(sum(own), rel=1e-4)
            for number in range(len(own)):
                tokens = data["advantages"][row][mask & (turn == number)]
                assert tokens.tolist() == pytest.approx([next(expected)] * len(tokens), abs=1e-4)
    finally:
        tq.close()
        ray.shutdown()
