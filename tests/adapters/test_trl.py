from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("trl", minversion="1.16", reason="TRL is not installed, or older")

import torch
from trl import GRPOConfig, GRPOTrainer

from igpo_gym.adapters.trl import (
    Rollouts,
    TurnGRPOTrainer,
    dataset,
    environment_factory,
    episode_reward,
)
from igpo_gym.agents.training.estimators import Split, Turns, resolve_estimator
from igpo_gym.errors import SpecError
from igpo_gym.lm.loading import load_model
from igpo_gym.protocols import CHAT, NATIVE, TAGS
from tests.adapters.episodes import QUESTION, settings
from tests.adapters.freed import assert_freed
from tests.adapters.scripted import TAIL, ScriptedTrainer
from tests.conftest import MentionScorer
from tests.lm.tiny import make_model, make_tokenizer

WORLD: dict[str, Any] = {"questions": "world#documents=60,questions=20", "protocol": TAGS, "max_turns": 3}


def config(folder: Path, **changes: Any) -> GRPOConfig:
    given: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": 2,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 400,
        "logging_steps": 1,
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
        **changes,
    }
    return GRPOConfig(**given)


def prompt_of(given: dict[str, Any], question: str = QUESTION) -> list[dict[str, str]]:
    return next(row["prompt"] for row in dataset(**given) if row["question_id"] == question)


def test_the_policy_is_trained_on_what_it_sampled_and_on_nothing_else() -> None:
    script = ["<think>who?</think><search>Grass</search>", "I do not know.", "<answer>Danzig</answer>"]
    given = settings(CHAT)
    trainer = ScriptedTrainer(script)
    rollout = Rollouts(**given)([prompt_of(given)] * 2, trainer)
    for ids, mask, turns in zip(
        rollout["completion_ids"], rollout["env_mask"], rollout["token_turns"], strict=True
    ):
        assert [turn > 0 for turn in turns] == [bool(own) for own in mask]
        for place, message in enumerate(script, 1):
            own = [number for number, turn in zip(ids, turns, strict=True) if turn == place]
            assert trainer.tokenizer.decode(own).startswith(message)
            assert TAIL not in trainer.tokenizer.decode(own)
    assert rollout["em"] == [1.0, 1.0]
    # The penalty for the message in the midst is part of the outcome, not a gain of its turn.
    assert rollout["turn_gains"] == [pytest.approx([2 / 11 - 1 / 10, 0.0])] * 2
    assert (rollout["outcome"], rollout["last_gain"]) == ([-1.0, -1.0], [False, False])
    assert rollout["logprobs"] is None


def test_an_episode_that_fills_its_row_runs_out_of_turns() -> None:
    given = settings(CHAT, max_turns=50)
    trainer = ScriptedTrainer(["<search>Grass</search>"] * 50)
    trainer.max_completion_length = 300
    rollout = Rollouts(**given)([prompt_of(given)], trainer)
    rewards = rollout["turn_rewards"][0]
    assert 250 < len(rollout["completion_ids"][0]) <= 300
    assert len(rewards) == trainer.calls
    assert rewards[-1] == pytest.approx(-2.0)
    assert len(rollout["turn_gains"][0]) == trainer.calls - 1
    assert (rollout["outcome"], rollout["last_gain"]) == ([-2.0], [False])


def test_what_was_aborted_has_no_score_in_the_log() -> None:
    given = settings(CHAT)
    trainer = ScriptedTrainer([])
    trainer.max_completion_length = 0  # no room for a message
    rollout = Rollouts(**given)([prompt_of(given)], trainer)
    assert (rollout["outcome"], rollout["em"]) == ([None], [None])
    log: dict[str, float] = {}
    episode_reward([[1.0], [], [0.5]], log.__setitem__, em=[1.0, None, 0.0], f1=[None] * 3)
    assert log == {"em": 0.5}


def test_prompts_of_another_data_set_are_refused() -> None:
    with pytest.raises(SpecError, match=r"train on igpo_gym\.adapters\.trl\.dataset"):
        Rollouts(**settings(CHAT))([[{"role": "user", "content": "Who?"}]], ScriptedTrainer([]))


def test_a_conversation_without_an_answer_is_priced_as_one() -> None:
    env = environment_factory(**settings(NATIVE))()
    env.reset(question_id=QUESTION)
    assert env.get_reward() == pytest.approx(-2.0)
    env.reset(question_id=QUESTION)
    env.search("Grass")
    assert env.rewards == []  # beliefs are asked when the conversation has ended
    gain = 2 / 11 - 1 / 10  # Danzig is mentioned once in what is found
    assert env.get_reward() == env.get_reward() == pytest.approx(gain - 2.0)
    assert env.rewards == pytest.approx([gain, -2.0])


def play_rollouts(scorer: MentionScorer) -> None:
    given = settings(CHAT, scorer=scorer)
    Rollouts(**given)([prompt_of(given)], ScriptedTrainer(["<answer>Danzig</answer>"]))


def play_tools(scorer: MentionScorer) -> None:
    env = environment_factory(**settings(NATIVE, scorer=scorer))()
    env.reset(question_id=QUESTION)
    env.search("Grass")


@pytest.mark.parametrize("use", [play_rollouts, play_tools])
def test_what_a_trainer_drops_leaves_no_thread_and_no_scorer(use: Callable[[MentionScorer], None]) -> None:
    assert_freed(use)


def test_an_estimator_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SpecError, match="unknown advantage estimator 'igpo'; did you mean"):
        TurnGRPOTrainer(advantages="igpo")
    with pytest.raises(SpecError, match="gigpo compares states"):
        TurnGRPOTrainer(advantages="gigpo")
    with pytest.raises(SpecError, match="grpo takes the outcome alone"):
        TurnGRPOTrainer(advantages="grpo", rollout_func=Rollouts(**settings(CHAT)))
    potential = Rollouts(**{**settings(CHAT), "reward": "potential"})
    with pytest.raises(SpecError, match=r"write potential\(gamma=0\.9\)"):
        TurnGRPOTrainer(advantages="rebn", gamma=0.9, rollout_func=potential)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["igpo-joint", "a2tgpo"])
def test_nano_is_trained_with_an_advantage_for_every_turn(tmp_path: Path, estimator: str) -> None:
    model, tokenizer = load_model("nano")
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    seen: list[tuple[list[dict[str, Any]], dict[str, Any]]] = []

    class Watched(TurnGRPOTrainer):
        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            output = super()._generate_and_score_completions(inputs)
            seen.append((inputs, output))
            return output

    closing = tokenizer.convert_tokens_to_ids(["</search>", "</answer>"])
    ends = {"max_new_tokens": 40, "eos_token_id": [tokenizer.eos_token_id, *closing]}
    trainer = Watched(
        model=model,
        processing_class=tokenizer,
        args=config(tmp_path, generation_kwargs=ends, learning_rate=1e-3),
        train_dataset=dataset(**WORLD),
        rollout_func=Rollouts(scorer="nano", **WORLD),
        reward_funcs=episode_reward,
        advantages=estimator,
    )
    trainer.train()
    assert any(not torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert {"em", "f1", "collapsed_groups", "batches_without_gain", "reward"} <= set(
        trainer.state.log_history[0]
    )
    assert len(seen) == 2
    for inputs, output in seen:
        questions = [row["question_id"] for row in inputs]
        assert questions == [questions[0]] * 4 + [questions[4]] * 4
        splits = [Split(tuple(row["turn_gains"]), row["outcome"], row["last_gain"]) for row in inputs]
        values = resolve_estimator(estimator)(Turns.of(splits, questions))
        expected = iter(values)
        for row, own, advantages, mask in zip(
            inputs, splits, output["advantages"].numpy(), output["tool_mask"].numpy(), strict=True
        ):
            token_turns = np.array(row["token_turns"])
            assert not advantages[len(token_turns) :].any()
            assert (mask[: len(token_turns)] == (token_turns > 0)).all()
            for turn in range(1, own.turns + 1):
                value = next(expected)
                tokens = advantages[: len(token_turns)][token_turns == turn]
                assert tokens == pytest.approx(value, abs=1e-6)
        assert next(expected, None) is None


@pytest.mark.slow
def test_trl_calls_the_tools(tmp_path: Path) -> None:
    from trl.chat_template_utils import qwen3_chat_template

    tokenizer = make_tokenizer(qwen3_chat_template)
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"
    calls = [
        '<tool_call>\n{"name": "search", "arguments": {"query": "Günter Grass writer"}}\n</tool_call>',
        '<tool_call>\n{"name": "answer", "arguments": {"answer": "Danzig"}}\n</tool_call>',
        "That is all.",
    ]

    class Scripted(GRPOTrainer):
        """Samples the script; all else is TRL's: its template, its parsing of calls, its loop."""

        calls = 0

        def _generate_single_turn(self, prompt_ids: list[Any], *_: Any, **__: Any) -> tuple[Any, None]:
            ids = tokenizer(calls[self.calls % 3], add_special_tokens=False)["input_ids"]
            self.calls += 1
            return [[*ids, tokenizer.eos_token_id] for _ in prompt_ids], None

    given = settings(
        NATIVE, questions=[q for q in settings(NATIVE)["questions"].questions if q.id == QUESTION]
    )
    trainer = Scripted(
        model=make_model("llama", max_position_embeddings=8192),
        processing_class=tokenizer,
        args=config(tmp_path, num_generations=8, max_completion_length=1500),
        train_dataset=dataset(**given),
        environment_factory=environment_factory(**given),
    )
    trainer.train()
    gain = 2 / 11 - 1 / 10  # Danzig is mentioned once in what is found
    assert trainer.environments[0].rewards == pytest.approx([gain, 1.0])
    log = trainer.state.log_history[0]
    assert log["rewards/SearchQA/mean"] == pytest.approx(gain + 1.0)
    assert (log["tools/call_frequency"], log["tools/failure_frequency"]) == (2.0, 0.0)
