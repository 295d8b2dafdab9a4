"""Sampling through a vLLM server in a process of its own, which is given the weights before every batch.

The weights are written as one safetensors file to memory that both processes see, and the server's worker
loads them in place (``reload_weights``); its prefix cache is then emptied and the version noted, all by
endpoints that vLLM has under ``VLLM_SERVER_DEV_MODE=1``. Nothing of this package runs in the server.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from igpo_gym.agents.policies.remote import RemotePolicy
from igpo_gym.agents.training.model import TrainedModel
from igpo_gym.agents.training.settings import sampler_options
from igpo_gym.episode import Episode, Message
from igpo_gym.errors import SamplingError, SpecError
from igpo_gym.lm.policy import Sampling
from igpo_gym.lm.reader import plain_log_probs
from igpo_gym.protocols import TextProtocol
from igpo_gym.scorers.prompts import Prompt
from igpo_gym.scorers.wire import DIALECTS
from igpo_gym.transport import Server, ServerError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHARED_MEMORY = Path("/dev/shm")
"""Where files lie in memory."""

WRONG_WEIGHTS = 0.1
"""A mean distance of a server's log-probabilities from the trainer's, in nats, that is more than rounding."""

CHECKED_TOKENS = 64


class ServedSampler(RemotePolicy):
    """A policy whose messages a vLLM server samples, with the weights of a model in training.

    ``folder`` is where the weights are handed over, a folder that the server sees by the same name; by
    default one in shared memory. With ``sleep`` the server gives its memory on the GPU back while the model
    learns (it is started with ``--enable-sleep-mode`` then).

    Raises SpecError for a server that cannot be given weights, and what RemotePolicy raises.
    """

    def __init__(
        self,
        url: str,
        protocol: TextProtocol,
        sampling: Sampling,
        *,
        tokenizer: PreTrainedTokenizerBase,
        folder: str | Path | None = None,
        sleep: bool = False,
        concurrency: int = 256,
        model: str | None = None,
    ) -> None:
        # A reload that failed must not be tried again on the half of it.
        self._control = Server(url, timeout=1800.0, retries=0, backoff=0.0, concurrency=1)
        self._own = None  # both before the server is asked: where it refuses, all of this is closed
        super().__init__(url, protocol, sampling, tokenizer=tokenizer, model=model, concurrency=concurrency)
        if folder is None:
            place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
            self._own = tempfile.TemporaryDirectory(prefix="igpo-gym-weights-", dir=place)
        self._folder = Path(folder or self._own.name)  # type: ignore[union-attr]
        self._sleep = sleep
        self._run = secrets.token_hex(4)
        self._published = ""
        try:
            self._version()
        except BaseException:
            self.close()
            raise

    @classmethod
    def of(
        cls, spec: str, tokenizer: PreTrainedTokenizerBase, protocol: TextProtocol, sampling: Sampling
    ) -> ServedSampler:
        """From a spec: ``URL#folder=/dev/shm/weights,sleep=yes,model=NAME,concurrency=512``."""
        url, options = sampler_options(spec)
        return cls(url, protocol, sampling, tokenizer=tokenizer, **options)

    def publish(self, trained: TrainedModel) -> None:
        """Give the server the weights that the model has now, as version ``weights``, unless it has them.

        Raises SamplingError where it cannot take them, or samples with others afterwards.
        """
        version = f"{self._run}/{self.weights}"
        if version == self._published:
            return
        self._write(trained.state())
        self._post("/pause?mode=wait")
        try:
            self._rpc("reload_weights", weights_path=str(self._folder))
            if not self._post("/reset_prefix_cache").get("success"):
                raise SamplingError(f"{self._control.url} keeps the prefix cache of the old weights")
            self._post("/update_weight_version", new_version=version)
        finally:
            self._post("/resume")
        (self._folder / "model.safetensors").unlink()
        self._published = version
        self._check_version()
        self._check_weights(trained)

    def act(self, episodes: Sequence[Episode]) -> Sequence[str | Message]:
        """One message per episode, in order, of the weights that were published last.

        Raises SamplingError where the server has lost them, or tells no token ids.
        """
        messages = super().act(episodes)
        self._check_version()
        if not all(isinstance(message, Message) for message in messages):
            raise SamplingError(f"{self._control.url} does not tell the ids that it sampled, as vLLM does")
        return messages

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Let the server sleep, where it is to, and wake it; the weights of the update come after that."""
        if not self._sleep:
            yield
            return
        self._post("/sleep?level=2&mode=wait")
        try:
            yield
        finally:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._post("/wake_up")
            self._published = ""

    def close(self) -> None:
        """Close the connections, and remove the weights that were handed over."""
        super().close()
        self._control.close()
        if self._own is not None:
            self._own.cleanup()

    def _write(self, state: dict[str, torch.Tensor]) -> None:
        from safetensors.torch import save_file

        size = sum(weight.nbytes for weight in state.values())
        free = shutil.disk_usage(self._folder).free
        if size > free:
            raise SamplingError(
                f"{self._folder} has {free / 2**30:.1f} GiB free, and the weights take {size / 2**30:.1f}; "
                f"name another folder: {self._control.url}#folder=FOLDER"
            )
        part = self._folder / ".model.part"
        # Shared tensors each in full: an engine that keeps a tied last layer apart then gets it too.
        save_file({name: weight.detach().clone().contiguous() for name, weight in state.items()}, part)
        part.replace(self._folder / "model.safetensors")

    def _check_version(self) -> None:
        version = self._version()
        if version != self._published:
            raise SamplingError(
                f"{self._control.url} has the weights {version!r} and not {self._published!r}: was it "
                "started anew, or does another run train with it?"
            )

    def _version(self) -> str:
        try:
            return str(self._control.get("/weight_info")["weight_version"])
        except (ServerError, KeyError, TypeError) as problem:
            if isinstance(problem, ServerError) and problem.status is None:
                raise SamplingError(str(problem)) from None
            raise SpecError(
                f"{self._control.url} cannot be given weights; start vLLM 0.32 or newer with "
                "VLLM_SERVER_DEV_MODE=1 in its environment"
            ) from None

    def _check_weights(self, trained: TrainedModel) -> None:
        """Compare the log-probabilities of some tokens: a server may load weights and compute with others."""
        vocabulary = trained.model.get_input_embeddings().num_embeddings
        ids = tuple(7 * number % vocabulary for number in range(1, CHECKED_TOKENS))
        dialect, prompt = DIALECTS["vllm"], Prompt(ids, len(ids) - 1)
        body = dialect.ask(self._served.name, [prompt])
        try:
            (scores,) = dialect.read(self._control.post(dialect.path, body), [prompt])
        except (ServerError, ValueError) as problem:
            raise SamplingError(f"no log-probabilities from {self._control.url}: {problem}") from None
        own = plain_log_probs(trained.model, ids[:1], ids[1:])
        gap = fmean(abs(ours - score.log_prob) for ours, score in zip(own, scores, strict=True))
        if not gap <= WRONG_WEIGHTS:
            raise SamplingError(
                f"{self._control.url} took the weights and computes with others: it is {gap:.2f} nats off a "
                "token. Does it serve the model that is trained? vLLM on a CPU does not reload a last layer "
                "that is tied to the embedding: serve a copy of the model that has them apart"
            )

    def _rpc(self, method: str, **arguments: str) -> None:
        self._post("/collective_rpc", method=method, kwargs=arguments)

    def _post(self, path: str, **body: object) -> dict[str, Any]:
        try:
            answer = self._control.post(path, body)
        except ServerError as problem:
            raise SamplingError(f"the server takes no new weights: {problem}") from None
        return answer if isinstance(answer, dict) else {}
