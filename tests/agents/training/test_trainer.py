from __future__ import annotations

import copy
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from igpo_gym import specs
from igpo_gym.agents.policies.language_model import LanguageModelPolicy
from igpo_gym.agents.rollouts.tokens import TokenRow
from igpo_gym.agents.training import trainer
from igpo_gym.agents.training.batches import (
    Batch,
    Sample,
    micro_batches,
    minibatches,
    samples,
    taught,
    turns_of,
)
from igpo_gym.agents.training.estimators import Estimator, Split, Turns
from igpo_gym.agents.training.logits import chosen_log_probs, log_probs, read
from igpo_gym.agents.training.logs import read_log
from igpo_gym.agents.training.settings import Settings, agree, keep
from igpo_gym.agents.training.trainer import Run, k3, learn, objective, train
from igpo_gym.episode import Answer, EndReason, Episode, Invalid, Question, Turn
from igpo_gym.errors import SpecError
from igpo_gym.lm.packed import attend_packed
from igpo_gym.rewards import resolve_reward
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.tools import search_call
from tests.lm.tiny import make_model

CPU = torch.device("cpu")
SETTINGS = Settings(epochs=1, max_norm=1e9, learning_rate=0.1)
LAYOUTS = ((0, 0, 1, 1, 1, 0, 2, 2), (0, 1, 0, 0, 2, 0, 0, 0, 3, 3, 3), (0, 0, 0, 1, 1))
"""The turn of each token of three episodes."""
LAYOUTS_READ = [layout[: max(place for place, turn in enumerate(layout) if turn) + 1] for layout in LAYOUTS]
"""What is read of them: nothing after the agent's last token."""


@pytest.fixture
def model() -> PreTrainedModel:
    return packed_model()


def packed_model() -> PreTrainedModel:
    model = make_model(initializer_range=0.1)
    attend_packed(model)
    return model


def make_rows(model: PreTrainedModel) -> list[TokenRow]:
    """Episodes of random tokens, sampled by a policy that has since moved on a little."""
    draw = np.random.default_rng(0)
    rows = []
    for layout in LAYOUTS:
        turn = np.array(layout)
        ids = draw.integers(0, 400, len(turn))
        with torch.no_grad():
            logits = model(torch.tensor(ids)[None]).logits[0].double().log_softmax(-1)
        own = logits[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].numpy()
        old = np.append(np.nan, own) + draw.normal(0, 0.3, len(ids))
        rows.append(TokenRow(ids, np.where(turn > 0, old, np.nan).astype(np.float32), turn))
    return rows


def make_samples(rows: list[TokenRow], loss: str = "token-mean") -> list[Sample]:
    turns = Turns.of([Split((0.0,) * (max(layout) - 1), 0.0) for layout in LAYOUTS], [0, 0, 0])
    return samples(rows, turns, ADVANTAGES, (LOW, HIGH), loss)


ADVANTAGES = np.array([0.7, -1.2, 0.3, 0.0, 1.5, -0.4])
LOW = np.array([0.1, 0.2, 0.25, 0.2, 0.15, 0.2])
HIGH = np.array([0.15, 0.1, 0.2, 0.3, 0.2, 0.1])
"""By turn, through all episodes."""


def slow_loss(
    model: PreTrainedModel, reference: PreTrainedModel, rows: list[TokenRow], s: Settings
) -> torch.Tensor:
    """The documented formula, token by token, in double precision."""
    total = torch.zeros((), dtype=torch.float64)
    numbers = iter(range(len(ADVANTAGES)))
    count = sum(int((row.turn > 0).sum()) for row in rows)
    for row in rows:
        ids = torch.tensor(row.ids)
        ours = model(ids[None]).logits[0].log_softmax(-1)
        theirs = reference(ids[None]).logits[0].log_softmax(-1).detach()
        own = int((row.turn > 0).sum())
        for turn in range(1, row.turn.max() + 1):
            number = next(numbers)
            places = [int(place) for place in np.flatnonzero(row.turn == turn)]
            ratios = [ours[p - 1, ids[p]] - float(row.log_probs[p]) for p in places]
            if s.ratio == "turn":
                ratios = [sum(ratios) / len(ratios)] * len(ratios)
            for place, log_ratio in zip(places, ratios, strict=True):
                rho, a = log_ratio.exp(), float(ADVANTAGES[number])
                gain = torch.minimum(rho * a, rho.clamp(1 - float(LOW[number]), 1 + float(HIGH[number])) * a)
                d = theirs[place - 1, ids[place]] - ours[place - 1, ids[place]]
                weight = 1 / count if s.loss == "token-mean" else 1 / own / len(rows)
                total = total + weight * (s.kl_coef * (d.exp() - d - 1) - gain)
    return total


@pytest.mark.parametrize("ratio", ["token", "turn"])
@pytest.mark.parametrize("loss", ["token-mean", "sequence-mean"])
def test_loss_and_gradient_are_those_of_the_formula(model: PreTrainedModel, ratio: str, loss: str) -> None:
    settings = replace(SETTINGS, ratio=ratio, loss=loss, kl_coef=0.3)
    rows = make_rows(model)
    reference = packed_model()
    with torch.no_grad():
        for weight in reference.parameters():
            weight.mul_(1.05)
    slow = copy.deepcopy(model).double()
    expected = slow_loss(slow, copy.deepcopy(reference).double(), rows, settings)
    expected.backward()

    (batch,) = micro_batches(make_samples(rows, loss), 1000, CPU)
    with torch.no_grad():
        theirs = log_probs(reference, batch)
    got, metrics = objective(log_probs(model, batch), theirs, batch, settings)
    got.backward()
    assert got.item() == pytest.approx(expected.item(), rel=1e-5)
    assert 0 < metrics["clipped"] < 1
    for ours, theirs in zip(model.parameters(), slow.parameters(), strict=True):
        # Sums in float32 err relative to their largest terms: small elements are held to the scale.
        scale = theirs.grad.abs().max()
        assert (ours.grad.double() - theirs.grad).abs().max() <= 1e-5 * scale


def test_the_bonus_for_entropy_is_that_of_the_formula(model: PreTrainedModel) -> None:
    settings = replace(SETTINGS, entropy_coef=0.2, kl_coef=0.0, temperature=0.7)
    rows = make_rows(model)
    (batch,) = micro_batches(make_samples(rows, "token-mean"), 1000, CPU)
    reading = read(model, batch, 0.7, entropy=True)
    plain, _ = objective(reading.log_probs, None, batch, settings)
    with_bonus, _ = objective(reading.log_probs, None, batch, settings, reading.entropies)
    expected = []
    for row in rows:
        for place in np.flatnonzero(row.mask):
            p = (model(torch.tensor(row.ids)[None]).logits[0, place - 1].double() / 0.7).softmax(-1)
            expected.append(-(p * p.log()).sum().item())
    assert (plain - with_bonus).item() == pytest.approx(0.2 * np.mean(expected), rel=1e-4)


def test_logits_are_computed_for_the_agents_tokens_alone(model: PreTrainedModel) -> None:
    (batch,) = micro_batches(make_samples(make_rows(model)), 1000, CPU)
    seen = []
    hook = model.get_output_embeddings().register_forward_hook(lambda _, __, out: seen.append(out.shape))
    log_probs(model, batch)
    hook.remove()
    assert seen == [(1, len(batch.targets), 400)]


def test_nothing_is_read_after_the_agents_last_token(model: PreTrainedModel) -> None:
    row = make_rows(model)[0]
    tail = np.zeros(5, int)
    longer = TokenRow(
        np.append(row.ids, tail + 7), np.append(row.log_probs, tail + np.nan), np.append(row.turn, tail)
    )
    turns = Turns.of([Split((0.0,), 0.0)], [0])
    (made,) = samples([longer], turns, ADVANTAGES[:2], (LOW[:2], HIGH[:2]), "token-mean")
    assert made.ids.tolist() == row.ids.tolist()


@pytest.mark.parametrize("loss", ["token-mean", "sequence-mean"])
def test_a_micro_batched_update_is_that_of_the_whole_batch(loss: str) -> None:
    rows = make_rows(packed_model())
    after, metrics = [], []
    for tokens in (1000, 16, 1):
        model = packed_model()
        batches = micro_batches(make_samples(rows, loss), tokens, CPU)
        assert sum(float(batch.weights.sum()) for batch in batches) == pytest.approx(1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        reference = packed_model()
        with torch.no_grad():
            reference.lm_head.weight.mul_(1.1)
        settings = replace(SETTINGS, loss=loss, ratio="turn", epochs=2)
        metrics.append(
            learn(model, optimizer, [batches], settings, lambda batch, m=reference: log_probs(m, batch))
        )
        after.append([weight.detach().clone() for weight in model.parameters()])
        assert len(batches) == {1000: 1, 16: 2, 1: 3}[tokens]
    for other, numbers in zip(after[1:], metrics[1:], strict=True):
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(after[0], other, strict=True))
        assert numbers == pytest.approx(metrics[0], rel=1e-3, abs=1e-6)


def test_the_gap_to_the_sampled_log_probabilities_is_measured(model: PreTrainedModel) -> None:
    rows = make_rows(model)
    batches = micro_batches(make_samples(rows), 1000, CPU)
    with torch.no_grad():
        exact = [replace(batch, sampled=log_probs(model, batch)) for batch in batches]
        gap = max(float((batch.sampled - log_probs(model, batch)).abs().max()) for batch in batches)
    still = torch.optim.SGD(model.parameters(), lr=0.0)
    assert learn(model, still, [exact], SETTINGS)["log_prob_gap"] < 1e-5
    assert learn(model, still, [exact], SETTINGS)["loss"] == pytest.approx(
        -sum(float((b.weights * b.advantages).sum()) for b in exact), abs=1e-6
    )
    assert learn(model, still, [batches], SETTINGS)["log_prob_gap"] == pytest.approx(gap, rel=1e-4)


def test_turns_of_episodes_have_their_groups_and_states() -> None:
    episode = Episode(Question("q", "Who?", ("Grass",)), ())
    episode.end = EndReason.ANSWERED
    episode.turns = [
        Turn("zzz", Invalid("no action"), observation="what?"),
        Turn("<search>x</search>", search_call("x"), observation="found"),
        Turn("<answer>Grass</answer>", Answer("Grass")),
    ]
    zero = {"gain": 0.0, "f1": 0.0, "format-penalty": 0.0}
    episode.rewards = [zero | {"gain": 0.1, "format-penalty": -2.0}, zero | {"gain": 0.3}, zero | {"f1": 1.0}]
    turns = turns_of([[episode, episode]], resolve_reward("igpo"))
    assert turns.rewards.tolist() == pytest.approx([0.1, 0.3, -1.0] * 2)
    assert turns.groups.tolist() == [0, 0]
    assert turns.states is not None
    assert turns.states.tolist() == [0, 1, 2] * 2


def tempered_samples(model: PreTrainedModel) -> list[Batch]:
    """As a sampler tells them: the log-probabilities of the model itself."""
    with torch.no_grad():
        return [
            replace(batch, sampled=log_probs(model, batch))
            for batch in micro_batches(make_samples(make_rows(model)), 16, CPU)
        ]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_ratios_and_gradients_are_those_of_the_policy_that_samples(
    model: PreTrainedModel, temperature: float
) -> None:
    settings = replace(SETTINGS, temperature=temperature, kl_coef=0.0)
    batches = tempered_samples(model)
    slow = copy.deepcopy(model).double()
    expected, entropy, count = torch.zeros((), dtype=torch.float64), 0.0, 0
    for batch in batches:
        own = log_probs(slow, batch, temperature).double()
        # Before the first step all ratios are 1: the gradient is that of log p, times the advantage.
        expected = expected - (batch.weights * own * batch.advantages).sum()
        entropy, count = entropy - float(own.detach().sum()), count + len(own)
    expected.backward()
    before = [weight.detach().clone() for weight in model.parameters()]
    metrics = learn(model, torch.optim.SGD(model.parameters(), lr=0.1), [batches], settings)
    assert metrics["clipped"] == 0
    assert metrics["log_prob_gap"] < 1e-5
    assert metrics["entropy"] == pytest.approx(entropy / count, rel=1e-5)
    assert metrics["loss"] == pytest.approx(
        -sum(float((b.weights * b.advantages).sum()) for b in batches), abs=1e-6
    )
    for old, new, theirs in zip(before, model.parameters(), slow.parameters(), strict=True):
        step = (old - new).double() / 0.1
        assert (step - theirs.grad).abs().max() <= 1e-4 * theirs.grad.abs().max() + 1e-6


def test_a_constant_advantage_does_not_move_a_policy_at_any_temperature() -> None:
    """The mean of the gradient of log p over its own samples is 0; over those of another temperature not."""
    draw = torch.Generator().manual_seed(0)
    logits, tau = torch.tensor([2.0, 0.0, -1.0]), 2.0
    ids = torch.multinomial((logits / tau).softmax(-1), 200_000, replacement=True, generator=draw)
    for temperature, still in ((tau, True), (1.0, False)):
        weight = logits.clone().requires_grad_()
        chosen_log_probs(weight.expand(len(ids), 3), ids, temperature).mean().backward()
        assert (weight.grad.abs().max() < 5e-3) == still


def test_the_divergence_of_a_token_is_clamped() -> None:
    d = torch.tensor([0.0, 1.0, -1.0, 3.0, 103.0, -103.0], dtype=torch.float64, requires_grad=True)
    values = k3(d)
    assert values[:3].tolist() == pytest.approx([0.0, math.e - 2, 1 / math.e], abs=1e-9)
    assert values[3:].tolist() == [10.0, 10.0, 10.0]
    values.sum().backward()
    assert torch.isfinite(d.grad).all()


def test_an_estimator_brings_its_own_ratios_and_bounds() -> None:
    assert Settings().importance_ratio == "token"
    assert Settings(ratio="turn").importance_ratio == "turn"
    assert Settings(advantages="a2tgpo").importance_ratio == "turn"
    assert Settings(advantages="a2tgpo", ratio="token").importance_ratio == "token"


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


def test_a_gradient_that_is_no_number_stops_the_run(model: PreTrainedModel) -> None:
    (batch,) = micro_batches(make_samples(make_rows(model)), 1000, CPU)
    broken = replace(batch, advantages=batch.advantages * math.nan)
    before = [weight.clone() for weight in model.parameters()]
    with pytest.raises(RuntimeError, match="non-finite"):
        learn(model, torch.optim.SGD(model.parameters(), lr=0.1), [[broken]], SETTINGS)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_wide_gap_is_warned_of(model: PreTrainedModel, caplog: pytest.LogCaptureFixture) -> None:
    batches = micro_batches(make_samples(make_rows(model)), 1000, CPU)
    learn(model, torch.optim.SGD(model.parameters(), lr=0.0), [batches], SETTINGS)
    assert "sampler and trainer differ" in caplog.text


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_minibatches_hold_each_episode_once_with_weights_of_their_own(
    model: PreTrainedModel, parts: int
) -> None:
    episodes = make_samples(make_rows(model))
    made = minibatches(episodes, parts, (0, 7))
    assert [len(part) for part in made] == {1: [3], 2: [2, 1], 3: [1, 1, 1]}[parts]
    assert sorted(len(each.ids) for part in made for each in part) == sorted(map(len, LAYOUTS_READ))
    for part in made:
        assert sum(float(each.weights.sum()) for each in part) == pytest.approx(1)
    again = minibatches(episodes, parts, (0, 7))
    same = [a.ids is b.ids for x, y in zip(made, again, strict=True) for a, b in zip(x, y, strict=True)]
    assert all(same)


def test_minibatches_are_steps_one_after_the_other(model: PreTrainedModel) -> None:
    """At another temperature the denominators are those of the model before the first of the steps."""
    settings = replace(SETTINGS, temperature=0.7, kl_coef=0.0)
    parts = minibatches(make_samples(make_rows(model)), 3, (0, 0))
    steps = [micro_batches(part, 1000, CPU) for part in parts]
    slow = packed_model()
    with torch.no_grad():
        before = [log_probs(slow, batch, 0.7) for (batch,) in steps]
    optimizer = torch.optim.SGD(slow.parameters(), lr=0.1)
    losses = []
    for (batch,), old in zip(steps, before, strict=True):
        loss, _ = objective(log_probs(slow, batch, 0.7), None, replace(batch, sampled=old), settings)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    metrics = learn(model, torch.optim.SGD(model.parameters(), lr=0.1), steps, settings)
    assert metrics["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert all(
        torch.allclose(a, b, atol=1e-6) for a, b in zip(model.parameters(), slow.parameters(), strict=True)
    )


def test_episodes_without_an_advantage_change_no_gradient(model: PreTrainedModel) -> None:
    episodes = make_samples(make_rows(model))
    mute = [episodes[0], replace(episodes[1], advantages=0 * episodes[1].advantages), episodes[2]]
    assert [each.ids is own.ids for each, own in zip(taught(mute), mute[::2], strict=True)] == [True, True]
    settings = replace(SETTINGS, kl_coef=0.0)
    told, after = [], []
    for chosen in (mute, taught(mute)):
        learner = packed_model()
        batches = [micro_batches(chosen, 1000, CPU)]
        told.append(learn(learner, torch.optim.SGD(learner.parameters(), lr=0.1), batches, settings))
        after.append(list(learner.parameters()))
    assert told[0]["loss"] == pytest.approx(told[1]["loss"], abs=1e-7)
    assert told[0]["grad_norm"] == pytest.approx(told[1]["grad_norm"], rel=1e-5)
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*after, strict=True))
    silent = [replace(each, advantages=0 * each.advantages) for each in episodes]
    assert taught(silent) == silent  # an optimizer's step is due all the same


def test_a_samplers_rounding_is_corrected_by_the_truncated_ratio(model: PreTrainedModel) -> None:
    """The gradient before the first step is that under truncated importance weights."""
    cap = 1.1
    (batch,) = micro_batches(make_samples(make_rows(model)), 1000, CPU)
    slow = copy.deepcopy(model).double()
    own = log_probs(slow, batch).double()
    ratios = (own.detach() - batch.sampled.double()).exp()
    assert (ratios > cap).any()
    assert (ratios < 1).any()
    (-(batch.weights * ratios.clamp(max=cap) * batch.advantages * own).sum()).backward()
    before = [weight.detach().clone() for weight in model.parameters()]
    settings = replace(SETTINGS, kl_coef=0.0)
    metrics = learn(model, torch.optim.SGD(model.parameters(), lr=0.1), [[batch]], settings, cap=cap)
    assert metrics["importance_ratio"] == pytest.approx(float(ratios.mean()), rel=1e-5)
    assert metrics["importance_capped"] == pytest.approx(float((ratios > cap).double().mean()))
    gaps = (own.detach() - batch.sampled.double()).abs()
    assert metrics["log_prob_gap_mean"] == pytest.approx(float(gaps.mean()), rel=1e-4)
    assert metrics["clipped"] == 0
    for old, new, theirs in zip(before, model.parameters(), slow.parameters(), strict=True):
        assert ((old - new).double() / 0.1 - theirs.grad).abs().max() <= 1e-4 * theirs.grad.abs().max() + 1e-6


def test_an_episode_in_which_the_agent_wrote_nothing_is_no_trouble(model: PreTrainedModel) -> None:
    rows = make_rows(model)
    mute = TokenRow(
        rows[0].ids, np.full(len(rows[0].ids), np.nan, np.float32), np.zeros(len(rows[0].ids), int)
    )
    for loss in ("token-mean", "sequence-mean"):
        made = make_samples([*rows[:2], mute], loss)
        for tokens in (1000, 1):
            metrics = learn(
                model,
                torch.optim.SGD(model.parameters(), lr=0.0),
                [micro_batches(made, tokens, CPU)],
                replace(SETTINGS, ratio="turn"),
            )
            assert math.isfinite(metrics["loss"])


# Whole runs.

SMALL = {
    "model": "nano",
    "questions": "world:train#documents=60,questions=20,hops=1-2",
    "validation": "world:validation#documents=60,questions=20,hops=1-2",
    "batch_questions": 2,
    "group_size": 2,
    "max_turns": 2,
    "top_k": 1,
    "max_tokens": 16,
    "updates": 4,
    "validate_every": 2,
    "validation_questions": 4,
}


@pytest.mark.parametrize("scorer", ["policy", "frozen", "none"])
def test_a_run_logs_its_updates_and_keeps_its_models(scorer: str, tmp_path: Path) -> None:
    reward = "outcome-f1" if scorer == "none" else "igpo"
    settings = Settings(**{**SMALL, "updates": 2}, epochs=1, scorer=scorer, reward=reward)
    told: list[dict[str, float]] = []
    for name in (".best-killed", ".last-killed"):
        (tmp_path / name / "new").mkdir(parents=True)
    train(tmp_path, settings, told.append)
    log = read_log(tmp_path / "log.jsonl")
    assert [line["update"] for line in log] == [0, 1, 2]
    assert log == told
    assert {"validation_f1", "validation_em"} <= log[0].keys() & log[2].keys()
    assert log[1]["log_prob_gap"] < 1e-4
    assert log[1]["kl"] == pytest.approx(0, abs=1e-6)  # before the first step
    assert log[1]["frac_reward_zero_std"] <= log[1]["collapsed_groups"] <= 1
    assert {"grad_norm", "completion_tokens", "entropy"} <= log[1].keys()
    assert all(math.isfinite(value) for line in log for value in line.values())
    assert 0.5 < sum(value for name, value in log[1].items() if name.startswith("share_")) <= 1
    assert (log[1]["share_scoring"] > 0) == (scorer != "none")
    for name in ("best", "last"):
        assert LanguageModelPolicy.load(tmp_path / name)
        assert not list(tmp_path.glob(f".{name}-*"))


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


def weights_differ(model: PreTrainedModel, other: PreTrainedModel) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


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
def test_the_default_settings_give_these_figures(tmp_path: Path) -> None:
    """Of four updates: where they change, so does what everybody's runs come to."""
    train(tmp_path, Settings(**SMALL, learning_rate=0.001))
    log = read_log(tmp_path / "log.jsonl")[1:]
    for name, expected in FIGURES.items():
        assert [line[name] for line in log] == pytest.approx(expected, rel=1e-3)


FIGURES = {
    "reward": [-1.503062583882902, -1.498984336655026, -1.7597241869972016, -1.6919611875815894],
    "loss": [0.005214994307607412, 0.00521811144426465, 0.05108407139778137, -0.016035379841923714],
    "grad_norm": [0.0008795739850029349, 0.0019087656401097775, 0.018497362732887268, 0.04036438465118408],
    "kl": [0.10853277146816254, 0.09865304082632065, 0.21915164589881897, 0.29300421476364136],
    "entropy": [0.08505326565180983, 0.11444856486189256, 0.1808356810151861, 0.3640953911675347],
    "gain": [0.4313005681795864, 0.449539770780695, 0.7386103235244923, 0.727118631875212],
}


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


def test_a_rate_that_ends_with_the_run_forbids_a_longer_one(tmp_path: Path) -> None:
    keep(tmp_path, Settings(**SMALL, schedule="cosine"))
    with pytest.raises(ValueError, match="updates"):
        agree(tmp_path, Settings(**{**SMALL, "updates": 9}, schedule="cosine"))
    agree(tmp_path, Settings(**SMALL, schedule="cosine", cache_gib=1.0, sampler="http://127.0.0.1:8000"))


def test_the_plan_is_told_before_a_run_and_one_that_cannot_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(trainer, "Run", lambda *arguments: pytest.fail("loaded"))
    with pytest.raises(SpecError, match=r"the run cannot fit: it needs .*; it would with --batch-gib 1\.0"):
        train(tmp_path, Settings(**SMALL, batch_gib=1e6), tell=told.append)
    assert told[0].startswith("memory of nano in fp32 on cpu, in GiB: at most ")
    assert not (tmp_path / "settings.json").exists()


RUN = """
import json, os, signal, sys
from pathlib import Path
import torch
from igpo_gym.agents.training.trainer import train
from igpo_gym.agents.training.settings import Settings

torch.set_num_threads(1)
out, settings, last = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])

def report(metrics):
    if metrics["update"] == last:
        os.kill(os.getpid(), signal.SIGKILL)

train(out, Settings(**settings), report)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reward", "scorer"), [("igpo", "policy"), ("igpo", "refreshed:1"), ("tips", "none")]
)
def test_a_killed_run_ends_as_one_that_was_not(reward: str, scorer: str, tmp_path: Path) -> None:
    def run(name: str, killed_at: int) -> int:
        settings = json.dumps({**SMALL, "reward": reward, "scorer": scorer, "learning_rate": 0.001})
        command = [sys.executable, "-c", RUN, str(tmp_path / name), settings, str(killed_at)]
        return subprocess.run(command, timeout=600).returncode

    assert run("whole", -1) == 0
    assert [run("killed", 0), run("killed", 3), run("killed", -1)] == [-signal.SIGKILL, -signal.SIGKILL, 0]
    for file in ("last/model.safetensors", "best/model.safetensors"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    whole, killed = (timeless(read_log(tmp_path / name / "log.jsonl")) for name in ("whole", "killed"))
    assert killed == whole


def timeless(log: list[dict[str, float]]) -> list[dict[str, float]]:
    timed = ("seconds", "tokens_per_second", "share_")
    return [{name: value for name, value in line.items() if not name.startswith(timed)} for line in log]


def test_a_folder_with_a_run_of_other_settings_is_left_alone(tmp_path: Path) -> None:
    keep(tmp_path, Settings(**SMALL))
    agree(tmp_path, Settings(**{**SMALL, "updates": 9}))
    with pytest.raises(ValueError, match=r"other settings \(seed, kl_coef\)"):
        agree(tmp_path, Settings(**SMALL, seed=1, kl_coef=0.5))
    assert json.loads((tmp_path / "settings.json").read_text())["seed"] == 0
    keep(tmp_path / "b", Settings(**SMALL, curriculum=True))
    with pytest.raises(ValueError, match="updates"):
        agree(tmp_path / "b", Settings(**{**SMALL, "updates": 9}, curriculum=True))


def test_a_run_whose_model_or_questions_are_others_by_now_is_left_alone(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("model/config.json", "questions.jsonl", "index/manifest.json")]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    changes = {"model": str(tmp_path / "model"), "search": f"bm25:{tmp_path / 'index'}"}
    settings = Settings(**{**SMALL, **changes, "questions": f"jsonl:{tmp_path / 'questions.jsonl'}"})
    run = tmp_path / "run"
    keep(run, settings)
    for file in files:
        os.utime(file, (1, 1))
    agree(run, settings)  # the time does not count
    for file in files:
        file.write_text("{}")
    changed = r"\(questions_fingerprint, search_fingerprint, model_fingerprint\)"
    with pytest.raises(ValueError, match=changed):
        agree(run, settings)
    kept = json.loads((run / "settings.json").read_text())  # as a run has it that knew no fingerprints
    old = {name: value for name, value in kept.items() if not name.endswith("_fingerprint")}
    (run / "settings.json").write_text(json.dumps(old))
    agree(run, settings)


@pytest.mark.parametrize(("kl", "warnings"), [(0.9, 0), (7.5, 1)])
def test_a_policy_that_has_left_its_reference_is_told_once(
    kl: float,
    warnings: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = Run(tmp_path, Settings(**SMALL, epochs=1))
    monkeypatch.setattr(run, "_learn", lambda batch: {"kl": kl})
    run.update()
    run.update()
    assert caplog.text.count("the policy has left its reference") == warnings
    assert caplog.text.count(f"a KL of {kl} nats a token") == warnings
