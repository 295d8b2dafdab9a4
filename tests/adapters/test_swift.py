from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("swift.rollout", reason="ms-swift is not installed")

from swift.infer_engine.protocol import (
    ChatCompletionResponse,
    ChatCompletionResponseChoice,
    ChatMessage,
    RolloutInferRequest,
    UsageInfo,
)
from swift.rollout import envs, multi_turns
from swift.utils import import_external_file

from igpo_gym.adapters.swift import ENVIRONMENT, SearchQA, dataset
from igpo_gym.adapters.tokens import read_split, turn_advantages
from igpo_gym.errors import SpecError
from igpo_gym.protocols import CHAT
from tests.adapters.episodes import ATTEMPTS, QUESTION, settings, trained
from tests.conftest import REPOSITORY
from tests.lm.tiny import CHATML, make_tokenizer


class ScriptedSwift:
    """As much of ms-swift's inference engine as a scheduler uses."""

    def __init__(self, script: Sequence[str]) -> None:
        self.tokenizer = make_tokenizer(CHATML)
        self.script = list(script)
        self.engine = self

    async def infer_async(self, request: Any, config: Any, **kwargs: Any) -> ChatCompletionResponse:
        message = ChatMessage(role="assistant", content=self.script.pop(0))
        ids = self.tokenizer(message.content, add_special_tokens=False)["input_ids"]
        choice = ChatCompletionResponseChoice(0, message, "stop", logprobs=None, token_ids=ids)
        return ChatCompletionResponse(model="scripted", choices=[choice], usage=UsageInfo(1, 1, 2))


def rollout(script: Sequence[str], given: dict[str, Any], max_turns: int | None = None) -> Any:
    """An episode through ms-swift's own scheduling."""
    scheduler = multi_turns[ENVIRONMENT](ScriptedSwift(script), max_turns=max_turns)
    (row,) = (row for row in dataset(**given) if row["question_id"] == QUESTION)
    request = RolloutInferRequest(messages=row["messages"], data_dict=row, uuid="one")
    output = asyncio.run(scheduler.run(request, SimpleNamespace(n=1)))
    assert not scheduler._envs
    return output


def test_gains_and_outcome_reach_the_trainers_information() -> None:
    given = settings(CHAT)
    outputs = [rollout(script, given) for script in ATTEMPTS]
    told = [output.rollout_infos for output in outputs]
    assert [each["total_reward"] for each in told] == [sum(each["step_rewards"]) for each in told]
    values = turn_advantages([read_split(each) for each in told], ["q"] * len(told))
    assert [own.tolist() for own in values] == trained(given, ATTEMPTS)  # bit for bit
    assert (told[0]["em"], told[0]["num_turns"], told[0]["gym_done"]) == (1.0, 2, True)
    assert json.loads(json.dumps(told)) == told


def test_an_episode_that_the_library_cuts_short_is_priced() -> None:
    told = rollout(ATTEMPTS[2], settings(CHAT), max_turns=2).rollout_infos
    assert told["step_rewards"][-1] == -2.0  # its gain is taken back
    assert (told["turn_gains"], told["outcome"]) == (told["step_rewards"][:1], -2.0)


def test_a_password_is_written_into_no_row() -> None:
    with pytest.raises(SpecError, match="scorer: this library writes its configuration"):
        dataset(questions="world", scorer="http://me:secret@host:8000/v1")


def test_wrong_rows_are_explained() -> None:
    world = {"questions": "world#documents=60,questions=10", "scorer": None, "reward": "f1"}
    env = SearchQA({"name": ENVIRONMENT, **world})
    with pytest.raises(SpecError, match="the row names no question"):
        asyncio.run(env.reset(RolloutInferRequest(messages=[], data_dict={})))


@pytest.mark.slow
def test_the_example_is_a_plugin_and_writes_rows(tmp_path: Path) -> None:
    file = REPOSITORY / "examples" / "swift_plugin.py"
    envs.pop(ENVIRONMENT), multi_turns.pop(ENVIRONMENT), sys.modules.pop("igpo_gym.adapters.swift")
    import_external_file(str(file))
    assert {ENVIRONMENT} <= envs.keys() & multi_turns.keys()

    out = tmp_path / "train.jsonl"
    command = [sys.executable, file, "--questions", "world#documents=60,questions=10", "--out", out]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert rows
    assert all(row["env_config"]["scorer"] == "nano" and "answers" not in json.dumps(row) for row in rows)
