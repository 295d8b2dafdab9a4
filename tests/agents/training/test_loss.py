from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from igpo_gym.agents.rollouts.tokens import TokenRow
from igpo_gym.agents.training.batches import (
    Batch,
    Sample,
    micro_batches,
    minibatches,
    samples,
    taught,
)
from igpo_gym.agents.training.estimators import Split, Turns
from igpo_gym.agents.training.logits import chosen_log_probs, log_probs, read
from igpo_gym.agents.training.loss import k3, learn, objective
from igpo_gym.agents.training.settings import Settings
from igpo_gym.errors import LearningError
from igpo_gym.lm.packed import attend_packed
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


def test_a_gradient_that_is_no_number_stops_the_run(model: PreTrainedModel) -> None:
    (batch,) = micro_batches(make_samples(make_rows(model)), 1000, CPU)
    broken = replace(batch, advantages=batch.advantages * math.nan)
    before = [weight.clone() for weight in model.parameters()]
    with pytest.raises(LearningError, match=r"not a finite number: .* a lower learning_rate"):
        learn(model, torch.optim.SGD(model.parameters(), lr=0.1), [[broken]], SETTINGS)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_wide_gap_is_warned_of(model: PreTrainedModel, caplog: pytest.LogCaptureFixture) -> None:
    batches = micro_batches(make_samples(make_rows(model)), 1000, CPU)
    learn(model, torch.optim.SGD(model.parameters(), lr=0.0), [batches], SETTINGS)
    assert "sampler and trainer differ" in caplog.text


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
