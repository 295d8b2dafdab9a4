"""Steps on float32 masters of 16-bit weights, wherever they lie, and rates that rise and fall."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace

import pytest
import torch

from igpo_gym.agents.training.optimizers import learning_rate, make_learner
from igpo_gym.agents.training.settings import Settings
from igpo_gym.errors import MissingExtraError


def weights(dtype: torch.dtype) -> dict[str, torch.nn.Parameter]:
    draw = torch.Generator().manual_seed(0)
    shapes = {"a": (5, 3), "b": (7,)}
    return {
        name: torch.nn.Parameter(torch.randn(shape, generator=draw).to(dtype))
        for name, shape in shapes.items()
    }


def descend(learner_weights: dict[str, torch.nn.Parameter], factor: float) -> None:
    sum((factor * weight.float().square()).sum() for weight in learner_weights.values()).backward()


@pytest.mark.parametrize("optimizer", ["adamw", "adamw-offload"])
def test_16_bit_weights_step_as_float32_ones_do(optimizer: str) -> None:
    settings = Settings(optimizer=optimizer, learning_rate=1e-4, weight_decay=0.1)
    coarse = weights(torch.bfloat16)
    learner = make_learner(coarse, settings)
    fine = {name: torch.nn.Parameter(weight.detach().float()) for name, weight in coarse.items()}
    plain = torch.optim.AdamW(fine.values(), lr=1e-4, weight_decay=0.1)
    for _ in range(4):
        for factor in (1.0, 0.5):  # two micro-batches: their gradients are added up
            descend(coarse, factor)
        for name, weight in fine.items():  # of the weights as they are in 16 bits
            gradient = (2 * 1.0 * coarse[name].detach().float()).bfloat16().float()
            weight.grad = gradient + (2 * 0.5 * coarse[name].detach().float()).bfloat16().float()
        learner.optimizer.step()
        learner.optimizer.zero_grad()
        plain.step()
        for name, weight in fine.items():
            assert torch.allclose(learner.masters[name], weight, rtol=1e-6, atol=1e-7)
            assert torch.equal(coarse[name], weight.bfloat16())
            assert coarse[name].grad is None
    # The steps are below the rounding of 16 bits, and yet they are made.
    assert any(not torch.equal(learner.masters[name], coarse[name].float()) for name in coarse)


def test_float32_weights_are_their_own_masters() -> None:
    own = weights(torch.float32)
    learner = make_learner(own, Settings())
    assert learner.masters is own
    offloaded = make_learner(own, Settings(optimizer="adamw-offload"))
    assert all(offloaded.masters[name] is not weight for name, weight in own.items())


def test_a_learner_goes_on_from_its_state() -> None:
    whole, begun = weights(torch.bfloat16), weights(torch.bfloat16)
    settings = Settings(learning_rate=1e-3)
    first, second = make_learner(whole, settings), make_learner(begun, settings)
    for learner, own in ((first, whole), (second, begun)):
        descend(own, 1.0)
        learner.optimizer.step()
        learner.optimizer.zero_grad()
    again = weights(torch.bfloat16)
    third = make_learner(again, settings)
    third.load(second.state())
    for learner, own in ((first, whole), (third, again)):
        descend(own, 0.3)
        learner.optimizer.step()
    for name, weight in whole.items():
        assert torch.equal(again[name], weight)
        assert torch.equal(third.masters[name], first.masters[name])


def test_moments_in_8_bits_step_nearly_as_others_do() -> None:
    pytest.importorskip("bitsandbytes")
    draw = torch.Generator().manual_seed(0)
    start = torch.randn(128, 128, generator=draw)  # smaller ones it keeps in 32 bits
    coarse, fine = ({"a": torch.nn.Parameter(start.bfloat16())} for _ in range(2))
    settings = Settings(learning_rate=1e-3)
    learners = make_learner(coarse, replace(settings, optimizer="adamw-8bit")), make_learner(fine, settings)
    for _ in range(5):
        for learner, own in zip(learners, (coarse, fine), strict=True):
            descend(own, 1.0)
            learner.optimizer.step()
            learner.optimizer.zero_grad()
    (state,) = learners[0].optimizer.state.values()
    assert {state[name].dtype for name in ("state1", "state2")} == {torch.uint8}
    assert (learners[0].masters["a"] - start).abs().max() > 3e-3
    assert (learners[0].masters["a"] - learners[1].masters["a"]).abs().mean() < 5e-4


def test_without_the_library_8_bits_are_refused_with_what_to_install() -> None:
    if importlib.util.find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is installed")
    with pytest.raises(MissingExtraError, match=r"igpo-gym\[8bit\]"):
        make_learner(weights(torch.float32), Settings(optimizer="adamw-8bit"))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ("linear", [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25]),
        ("cosine", [0.25, 0.5, 0.75, 1, 1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)]),
    ],
)
def test_rates_rise_and_fall(schedule: str, expected: list[float]) -> None:
    settings = Settings(learning_rate=2.0, updates=8, warmup=4, schedule=schedule)
    rates = [learning_rate(settings, update) for update in range(8)]
    assert rates == pytest.approx([2 * each for each in expected])
