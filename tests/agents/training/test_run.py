from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from igpo_gym import specs
from igpo_gym.agents.training.estimators import Estimator, Turns
from igpo_gym.agents.training.logs import read_log
from igpo_gym.agents.training.run import Run
from igpo_gym.agents.training.settings import Settings
from igpo_gym.agents.training.trainer import train
from igpo_gym.scorers.local import TransformersScorer
from tests.agents.training.test_trainer import SMALL, weights_differ


def test_an_estimator_from_outside_trains(tmp_path: Path) -> None:
    seen = []

    def mine(weight: float = 1.0) -> Estimator:
        def advantages(turns: Turns, gamma: float) -> np.ndarray:
            seen.append((len(turns), gamma, weight))
            return weight * turns.rewards

        return Estimator("mine", advantages, groupwise=False, clip=(0.1, 0.3))

    specs.register("estimator", "mine", mine)
    try:
        settings = Settings(**{**SMALL, "updates": 1}, epochs=1, advantages="mine(weight=0.5)", gamma=0.9)
        train(tmp_path, settings)
    finally:
        specs.unregister("estimator", "mine")
    assert [given[1:] for given in seen] == [(0.9, 0.5)]
    assert read_log(tmp_path / "log.jsonl")[1]["loss"] != 0


def test_a_batch_without_a_gain_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(tmp_path, Settings(**{**SMALL, "max_turns": 1}, epochs=1, learning_rate=0.0))
    assert [run.update()["batches_without_gain"] for _ in range(2)] == [1.0, 1.0]
    assert caplog.text.count("no turn of a batch has a gain") == 1
    two = Settings(**SMALL, epochs=1, learning_rate=0.0, scorer="none", reward="f1", advantages="grpo")
    assert "batches_without_gain" not in Run(tmp_path, two).update()


def test_all_that_reads_and_plays_for_a_reward_is_timed_and_begins_with_an_empty_cache(
    tmp_path: Path,
) -> None:
    settings = {**SMALL, "scorer": "none", "epochs": 1}
    run = Run(tmp_path, Settings(**settings, reward="tips"))
    assert run.reference_scorer is not None
    forwarded = []
    for _ in range(2):
        before = run.reference_scorer.stats.tokens_forwarded
        run.rollouts()
        forwarded.append(run.reference_scorer.stats.tokens_forwarded - before)
    assert forwarded[0] == forwarded[1]
    assert run.update()["share_scoring"] > 0

    run = Run(tmp_path, Settings(**settings, reward="monte-carlo(completions=1)"))
    assert run.engine.policy is not None
    stepwise = replace(run.engine, measure="step")
    stepwise.start(stepwise.begin([run.unseen[0]]))
    assert run.watch.seconds["sampling"] > 0


def test_adapters_learn_from_a_policy_that_has_them(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    run = Run(tmp_path, Settings(**SMALL, lora=2, epochs=1, learning_rate=0.01))
    first, second = run.update(), run.update()
    assert first["kl"] == pytest.approx(0, abs=1e-6)
    assert second["kl"] > 1e-6  # the reference is the model without its adapters
    assert max(first["log_prob_gap"], second["log_prob_gap"]) < 1e-4


def test_the_weights_learn_and_the_copies_follow_or_stay(tmp_path: Path) -> None:
    for scorer, follows in (("frozen", False), ("refreshed:1", True)):
        run = Run(tmp_path, Settings(**SMALL, scorer=scorer, learning_rate=0.01))
        before = run.trained.copy()
        run.update()
        moved = weights_differ(run.model, before)
        assert moved
        assert isinstance(run.scorer, TransformersScorer)
        assert weights_differ(run.scorer.reader.model, before) == follows


@pytest.mark.slow
def test_a_policy_that_pays_for_searching_stops_searching(tmp_path: Path) -> None:
    settings = Settings(
        **{**SMALL, "group_size": 8, "max_turns": 3, "max_tokens": 32},
        reward="-1*search-cost",
        advantages="rebn",
        scorer="none",
        learning_rate=0.002,
    )
    run = Run(tmp_path, settings)
    searches = [run.update()["tool_turns"] for _ in range(4)]
    assert searches[-1] < 0.5 * searches[0]


@pytest.mark.slow
@pytest.mark.parametrize("lora", [0, 2])
def test_rollouts_and_updates_are_of_one_precision(tmp_path: Path, lora: int) -> None:
    if lora:
        pytest.importorskip("peft")
    settings = Settings(**SMALL, precision="bf16", lora=lora, learning_rate=1e-3, minibatches=2)
    run = Run(tmp_path, settings)
    assert {weight.dtype for weight in run.model.parameters()} == {torch.bfloat16}
    assert {master.dtype for master in run.learner.masters.values()} == {torch.float32}
    first, second = run.update(), run.update()
    for metrics in (first, second):
        # What is left are sums in another order, of 8 bits: a few hundredths of a nat, and no bias.
        assert metrics["log_prob_gap_mean"] < 0.05
        assert metrics["importance_ratio"] == pytest.approx(1, abs=0.05)
    assert second["kl"] != first["kl"]
    run.save()
    again = Run(tmp_path, settings)
    assert again.resume()
    for name, master in run.learner.masters.items():
        assert torch.equal(again.learner.masters[name], master)
        assert torch.equal(again.learner.weights[name], master.bfloat16())
    run.trained.save(tmp_path / "saved")
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {torch.bfloat16}


def test_beliefs_at_the_end_are_those_of_the_steps(tmp_path: Path) -> None:
    rewards, beliefs = [], []
    for measure in ("end", "step"):
        run = Run(tmp_path, Settings(**SMALL))
        assert run.engine.measure == "end"
        run.engine = replace(run.engine, measure=measure)
        episodes = run.rollouts()
        rewards.append([sum(turn.values()) for episode in episodes for turn in episode.rewards])
        beliefs.append([belief.prob for episode in episodes for belief in episode.beliefs])
    assert rewards[0] == pytest.approx(rewards[1], abs=1e-5)
    assert beliefs[0] == pytest.approx(beliefs[1], abs=1e-5)
    assert len(set(beliefs[0])) > 4


@pytest.mark.parametrize(("kl", "warnings"), [(0.9, 0), (7.5, 1)])
def test_a_policy_that_has_left_its_reference_is_told_once(
    kl: float,
    warnings: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = Run(tmp_path, Settings(**SMALL, epochs=1))
    monkeypatch.setattr("igpo_gym.agents.training.run.learn", lambda *_: {"kl": kl})
    run.update()
    run.update()
    assert caplog.text.count("the policy has left its reference") == warnings
    assert caplog.text.count(f"a KL of {kl} nats a token") == warnings
