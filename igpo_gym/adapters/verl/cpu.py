"""verl's own vLLM server on any machine: how a dry run and tests get real rollouts without a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import torch
from omegaconf import OmegaConf

_ROLLOUT = "actor_rollout_ref.rollout"
_SMALL: Mapping[str, Any] = {
    "name": "vllm",
    "dtype": "float32",
    "load_format": "auto",
    "enforce_eager": True,
    "enable_sleep_mode": False,
    "free_cache_engine": False,
    "tensor_model_parallel_size": 1,
    "gpu_memory_utilization": 0.3,
    "max_num_seqs": 16,
}
"""What verl's rollout has to be where the server holds a model by itself, whose weights nobody sends it."""


def small(config: Any, model: str, prompt: int, response: int, context: int, **rollout: Any) -> Any:
    """A copy of verl's configuration in which a small model rolls out, in rows of so many tokens.

    ``context`` is how many tokens the model reads.
    """
    made = OmegaConf.create(OmegaConf.to_container(config, resolve=False))
    lengths = {"prompt_length": prompt, "response_length": response, "max_model_len": context}
    values = {**_SMALL, **lengths, "max_num_batched_tokens": context, **rollout}
    OmegaConf.set_struct(made, False)
    for name, value in values.items():
        OmegaConf.update(made, f"{_ROLLOUT}.{name}", value)
    OmegaConf.update(made, "actor_rollout_ref.model.path", model)
    return made


@dataclass(frozen=True, slots=True)
class VerlServer:
    """verl's vLLM server in a Ray actor, and verl's client of it."""

    actor: Any
    client: Any

    def load(self, folder: str, version: int) -> None:
        """Take the weights of another model of the same shape, as a version of its own."""
        self._call("collective_rpc", "reload_weights", kwargs={"weights_path": folder})
        self._call("clear_kv_cache")
        self.version(version)

    def version(self, number: int) -> None:
        """Say which version the weights are, as verl does after an update."""
        self._call("set_global_steps", number)

    def _call(self, method: str, *args: Any, **kwargs: Any) -> None:
        ray.get(getattr(self.actor, method).remote(*args, **kwargs))


@contextmanager
def vllm_server(config: Any) -> Iterator[VerlServer]:
    """verl's server, load balancer and client, as its trainer makes them, without a trainer's GPUs.

    ``config`` is of :func:`small`. Ray must be up. The first weights are version 0. On a machine without a
    GPU this needs the CPU build of vLLM.
    """
    from verl.workers.rollout.llm_server import LLMServerClient
    from verl.workers.rollout.replica import RolloutMode
    from verl.workers.rollout.router import get_router_handle
    from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer

    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    settings = {name: os.environ.get(name, value) for name, value in settings.items()}
    actor = (
        ray.remote(vLLMHttpServer)
        .options(num_cpus=0, max_concurrency=256, runtime_env={"env_vars": settings})
        .remote(
            config=config.actor_rollout_ref.rollout,
            model_config=config.actor_rollout_ref.model,
            rollout_mode=RolloutMode.STANDALONE,
            workers=[],
            replica_rank=0,
            node_rank=0,
            gpus_per_node=1,
            nnodes=1,
            cuda_visible_devices="0" if torch.cuda.is_available() else "",
        )
    )
    try:
        ray.get(actor.launch_server.remote())
        balancer = get_router_handle(
            servers={"small": actor}, router_config_path=None, full_determinism=False
        )
        server = VerlServer(actor, LLMServerClient(config, balancer))
        server.version(0)
        yield server
        ray.kill(balancer)
    finally:
        # The engine's processes are the actor's own, and outlive it where they are not told to end.
        ray.get(
            actor.__ray_call__.remote(lambda self: getattr(self, "engine", None) and self.engine.shutdown())
        )
        ray.kill(actor)
