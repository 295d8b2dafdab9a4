"""Inference engines that sample what a script says, with a real tokenizer, and then more than they should."""

from __future__ import annotations

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


def agent_loop(server: ScriptedServer, settings: dict[str, Any], **lengths: int) -> Any:
    """The adapter's agent loop, made as verl makes one."""
    from omegaconf import OmegaConf
    from verl.experimental.agent_loop.agent_loop import DictConfigWrap
    from verl.utils.dataset.rl_dataset import RLHFDataset

    from igpo_gym.adapters.verl import SearchAgentLoop

    rollout = {"name": "vllm", "prompt_length": 512, "response_length": 2000, **lengths}
    return SearchAgentLoop(
        trainer_config=DictConfigWrap(OmegaConf.create({"actor_rollout_ref": {"rollout": rollout}})),
        server_manager=server,
        tokenizer=server.tokenizer,
        processor=None,
        dataset_cls=RLHFDataset,
        data_config=DictConfigWrap(OmegaConf.create({})),
        settings=settings,
    )
