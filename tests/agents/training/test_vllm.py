"""The reference trainer with a real vLLM that samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import torch
from safetensors.torch import save_file

from igpo_gym.agents.training.logs import read_log
from igpo_gym.agents.training.model import TrainedModel
from igpo_gym.agents.training.sampler import ServedSampler
from igpo_gym.agents.training.settings import Settings
from igpo_gym.agents.training.trainer import train
from igpo_gym.errors import SamplingError
from igpo_gym.lm.policy import Sampling
from igpo_gym.protocols import TAGS
from tests.agents.training.test_trainer import SMALL
from tests.integration.vllm import needs_vllm, vllm_server

pytestmark = [pytest.mark.slow, needs_vllm]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of nano-base with a last layer of its own: vLLM on a CPU reloads no tied one."""
    folder = tmp_path_factory.mktemp("served")
    trained = TrainedModel("nano-base", "cpu")
    trained.model.config.tie_word_embeddings = False
    trained.model.config.save_pretrained(folder)
    trained.tokenizer.save_pretrained(folder)
    state = {name: weight.detach().clone() for name, weight in trained.state().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with vllm_server(folder, folder / "server.log", "--max-model-len", "1024") as found:
        yield found


@pytest.mark.parametrize("lora", [0, 4])
def test_each_batch_is_sampled_with_the_weights_of_its_update(url: str, tmp_path: Path, lora: int) -> None:
    if lora:
        pytest.importorskip("peft")
    # Batches so large that each teaches something, and the next is sampled with other weights.
    size = {"batch_questions": 4, "group_size": 4}
    settings = {**SMALL, **size, "model": "nano-base", "updates": 3, "validate_every": 3}
    train(tmp_path, Settings(**settings, sampler=url, learning_rate=0.003, lora=lora))
    log = read_log(tmp_path / "log.jsonl")[1:]
    assert all(line["grad_norm"] > 0 for line in log)
    for line in log:
        assert line["log_prob_gap"] < 1e-3
        assert line["importance_ratio"] == pytest.approx(1, abs=1e-3)


def test_new_weights_change_what_the_server_says_at_once(url: str) -> None:
    trained = TrainedModel("nano-base", "cpu")
    sampler = ServedSampler(url, TAGS, Sampling(), tokenizer=trained.tokenizer)
    for version in range(3):
        with torch.no_grad():
            for weight in trained.weights.values():
                weight.mul_(1.05)
        sampler.weights = str(version)
        sampler.publish(trained)  # compares the server's log-probabilities with the model's
        assert requests.get(f"{url}/weight_info", timeout=10).json()["weight_version"].endswith(f"/{version}")
    requests.post(f"{url}/update_weight_version", json={"new_version": "other"}, timeout=10)
    with pytest.raises(SamplingError, match="has the weights 'other'"):
        sampler.act([])
    sampler.close()
