"""Inference engines that sample what a script says, with a real tokenizer, and then more than they should."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from igpo_gym.lm.framing import Framing
from tests.lm.tiny import CHATML, make_tokenizer

TAIL = " and <search>one more</search>"
"""What an engine samples beyond the end of a message if nothing stops it."""


class ScriptedEngine:
    """Gives each transcript the next message of a script, by how many the agent has written."""

    def __init__(self, script: Sequence[str]) -> None:
        self.tokenizer = make_tokenizer(CHATML)
        self.framing = Framing(self.tokenizer)
        self.script = script
        self.calls = 0
        self.silent = False
        """Whether an empty message has no token at all, not even the one that ends its turn."""

    def sample(self) -> list[int]:
        """The ids of the next message."""
        message = self.script[self.calls]
        self.calls += 1
        if self.silent and not message:
            return []
        closes = message.endswith(("</search>", "</answer>", "</tool_call>"))
        # A message that closes an action is followed by too much; one that does not ends its turn itself.
        ids = self.framing.text_ids(message + TAIL) if closes else self.framing.text_ids(message)
        return [*ids, *([] if closes else self.framing.end_ids), *self.framing.text_ids(TAIL)]


class ScriptedCompleter:
    """A policy of the Tinker cookbook. Each rollout, a task of its own, follows the next script."""

    def __init__(self, *scripts: Sequence[str], tail: str = "") -> None:
        self.tokenizer = make_tokenizer(CHATML)
        self.framing = Framing(self.tokenizer)
        self.scripts = list(scripts)
        self.tail = tail
        self.running: dict[Any, list[str]] = {}

    async def __call__(self, model_input: Any, stop: Any, *, max_tokens: int | None = None) -> Any:
        from tinker_cookbook.completers import TokensWithLogprobs

        task = asyncio.current_task()
        if task not in self.running:
            self.running[task] = list(self.scripts.pop(0))
        message = self.running[task].pop(0)
        end = self.tokenizer.convert_tokens_to_ids("<|im_end|>")
        ids = [*self.framing.text_ids(message + self.tail), end]
        return TokensWithLogprobs(tokens=ids, maybe_logprobs=[-0.5] * len(ids))


class ScriptedGenerate:
    """The route ``/generate`` of Atropos' inference server; each transcript follows one of the scripts."""

    def __init__(self, *scripts: Sequence[str]) -> None:
        self.tokenizer = make_tokenizer(CHATML)
        self.framing = Framing(self.tokenizer)
        self.scripts = scripts
        self.begun = iter(scripts)
        self.lock = threading.Lock()

    def __call__(self, body: dict[str, Any]) -> dict[str, Any]:
        transcript = self.tokenizer.decode(body["prompt"]["prompt_token_ids"])
        turn = transcript.count("<|im_start|>assistant") - 1
        with self.lock:
            script = next(
                script
                for script in (self.scripts if turn else self.begun)
                if all(message in transcript for message in script[:turn])
            )
        end = self.tokenizer.convert_tokens_to_ids("<|im_end|>")
        ids = [*self.framing.text_ids(script[turn]), end][: body["max_tokens"]]
        return {"logprobs": [[[{str(number): -0.5}] for number in ids]], "finish_reasons": ["stop"]}


class ScriptedTrainer(ScriptedEngine):
    """As much of TRL's trainer as a rollout function uses."""

    max_completion_length = 1000
    state = SimpleNamespace(global_step=7)

    @property
    def processing_class(self) -> Any:
        return self.tokenizer

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: None, fields: dict[str, Any], num_generations: int
    ) -> tuple[list[list[int]], None]:
        assert num_generations == 1
        ids = self.sample()
        return [ids for _ in prompt_ids], None

    def replies(self, rollout: dict[str, Any]) -> list[str]:
        """The user message after each of the agent's messages in the first episode's completion."""
        return user_messages(self.tokenizer.decode(rollout["completion_ids"][0]), len(self.script))


def user_messages(transcript: str, count: int) -> list[str]:
    """What the user said in a transcript in ChatML, padded with empty texts to ``count``."""
    found = [part.partition("<|im_end|>")[0] for part in transcript.split("<|im_start|>user\n")[1:]]
    return found + [""] * (count - len(found))


class ScriptedServer(ScriptedEngine):
    """As much of verl's inference client as an agent loop uses; every request follows the script."""

    def __init__(self, script: Sequence[str]) -> None:
        super().__init__(script)
        self.turns: Counter[str] = Counter()
        self.params: dict[str, Any] = {}

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any]
    ) -> Any:
        from verl.workers.rollout.replica import TokenOutput

        self.calls, self.params = self.turns[request_id], sampling_params
        self.turns[request_id] += 1
        ids = self.sample()
        return TokenOutput(token_ids=ids, log_probs=[-0.5] * len(ids))


def agent_loop(
    server: ScriptedServer, settings: dict[str, Any], arguments: dict[str, Any] | None = None, **rollout: Any
) -> Any:
    """The adapter's agent loop, made as verl makes one; ``rollout`` changes verl's settings of that name."""
    from omegaconf import OmegaConf
    from verl.experimental.agent_loop.agent_loop import DictConfigWrap
    from verl.utils.dataset.rl_dataset import RLHFDataset

    from igpo_gym.adapters.verl import SearchAgentLoop

    rollout = {"name": "vllm", "prompt_length": 512, "response_length": 2000, **rollout}
    return SearchAgentLoop(
        trainer_config=DictConfigWrap(OmegaConf.create({"actor_rollout_ref": {"rollout": rollout}})),
        server_manager=server,
        tokenizer=server.tokenizer,
        processor=None,
        dataset_cls=RLHFDataset,
        data_config=DictConfigWrap(OmegaConf.create({})),
        settings=settings,
        **(arguments or {}),
    )
