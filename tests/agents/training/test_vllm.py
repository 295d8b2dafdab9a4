"""The reference trainer with a real vLLM that samples; ``IGPO_GYM_VLLM_PYTHON`` names its interpreter."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
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

PYTHON = os.environ.get("IGPO_GYM_VLLM_PYTHON", "")
READY_SECONDS = 400.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="IGPO_GYM_VLLM_PYTHON names no interpreter with vLLM"),
]


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
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        PYTHON,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        str(folder),
        "--dtype",
        "float32",
    ]
    command += [
        "--dtype",
        "float32",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--enforce-eager",
        "--max-model-len",
        "1024",
    ]
    settings = {
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "PATH": f"{Path(PYTHON).parent}{os.pathsep}{os.environ['PATH']}",
    }
    log = folder / "server.log"
    with log.open("w") as file:
        server = subprocess.Popen(
            command,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | settings,
            cwd=folder,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        found = f"http://127.0.0.1:{port}"
        _wait(server, found, log)
        yield found
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            if requests.get(f"{url}/health", timeout=5).ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.5)
    raise TimeoutError(log.read_text()[-2000:])


@pytest.mark.parametrize("lora", [0, 4])
def test_each_batch_is_sampled_with_the_weights_of_its_update(url: str, tmp_path: Path, lora: int) -> None:
    if lora:
        pytest.importorskip("peft")
    settings = {**SMALL, "model": "nano-base", "updates": 3, "validate_every": 3}
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
