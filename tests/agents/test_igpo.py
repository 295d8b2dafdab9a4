from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from igpo_gym.agents.advantages import Turns
from igpo_gym.agents.igpo import Sample, learn, log_probs, micro_batches, objective, samples
from igpo_gym.agents.settings import Settings
from igpo_gym.agents.tokens import TokenRow
from tests.scorers.tiny import make_model

CPU = torch.device("cpu")
SETTINGS = Settings(epochs=1, max_norm=1e9, learning_rate=0.1)
LAYOUTS = ((0, 0, 1, 1, 1, 0, 2, 2), (0, 1, 0, 0, 2, 0, 0, 0, 3, 3, 3), (0, 0, 0, 1, 1))
"""The turn of each token of three episodes."""


@pytest.fixture
def model() -> PreTrainedModel:
    return make_model(initializer_range=0.1)


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
    turns = Turns.of([[0.0] * max(layout) for layout in LAYOUTS], [0, 0, 0])
    return samples(rows, turns, ADVANTAGES, CLIPS, loss)


ADVANTAGES = np.array([0.7, -1.2, 0.3, 0.0, 1.5, -0.4])
CLIPS = np.array([0.1, 0.2, 0.25, 0.2, 0.15, 0.2])
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
                rho, a, eps = log_ratio.exp(), float(ADVANTAGES[number]), float(CLIPS[number])
                gain = torch.minimum(rho * a, rho.clamp(1 - eps, 1 + eps) * a)
                d = theirs[place - 1, ids[place]] - ours[place - 1, ids[place]]
                weight = 1 / count if s.loss == "token-mean" else 1 / own / len(rows)
                total = total + weight * (s.kl * (d.exp() - d - 1) - gain)
    return total


@pytest.mark.parametrize("ratio", ["token", "turn"])
@pytest.mark.parametrize("loss", ["token-mean", "sequence-mean"])
def test_loss_and_gradient_are_those_of_the_formula(model: PreTrainedModel, ratio: str, loss: str) -> None:
    settings = replace(SETTINGS, ratio=ratio, loss=loss, kl=0.3)
    rows = make_rows(model)
    reference = make_model(initializer_range=0.1)
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
        assert torch.allclose(ours.grad.double(), theirs.grad, rtol=1e-4, atol=1e-7)


def test_logits_are_computed_for_the_agents_tokens_alone(model: PreTrainedModel) -> None:
    (batch,) = micro_batches(make_samples(make_rows(model)), 1000, CPU)
    seen = []
    hook = model.get_output_embeddings().register_forward_hook(lambda _, __, out: seen.append(out.shape))
    log_probs(model, batch)
    hook.remove()
    assert seen == [(int(batch.written.sum()), 400)]


@pytest.mark.parametrize("loss", ["token-mean", "sequence-mean"])
def test_a_micro_batched_update_is_that_of_the_whole_batch(loss: str) -> None:
    rows = make_rows(make_model(initializer_range=0.1))
    after, metrics = [], []
    for tokens in (1000, 16, 1):
        model = make_model(initializer_range=0.1)
        batches = micro_batches(make_samples(rows, loss), tokens, CPU)
        assert sum(float(batch.weights.sum()) for batch in batches) == pytest.approx(1)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        reference = make_model(initializer_range=0.11)
        settings = replace(SETTINGS, loss=loss, ratio="turn", epochs=2)
        metrics.append(
            learn(model, optimiser, batches, settings, lambda batch, m=reference: log_probs(m, batch))
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
    assert learn(model, still, exact, SETTINGS)["log_prob_gap"] < 1e-5
    assert learn(model, still, exact, SETTINGS)["loss"] == pytest.approx(
        -sum(float((b.weights * b.advantages).sum()) for b in exact), abs=1e-6
    )
    assert learn(model, still, batches, SETTINGS)["log_prob_gap"] == pytest.approx(gap, rel=1e-4)


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
                micro_batches(made, tokens, CPU),
                replace(SETTINGS, ratio="turn"),
            )
            assert math.isfinite(metrics["loss"])
