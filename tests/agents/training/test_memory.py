"""What a run is planned to need, against what torch really takes, and against figures made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, Qwen2Config

from igpo_gym.agents.training.logits import LOGIT_BYTES
from igpo_gym.agents.training.memory import GIB, Machine, MemoryPlan, Shape, check_plan, plan_run, shape_of
from igpo_gym.agents.training.model import TrainedModel
from igpo_gym.agents.training.optimizers import make_learner
from igpo_gym.agents.training.settings import Settings
from igpo_gym.errors import SpecError
from igpo_gym.lm import packed
from igpo_gym.lm.packed import attend_packed
from igpo_gym.lm.packing import pack
from igpo_gym.lm.reader import CausalReader
from tests.lm.tiny import make_model

QWEN_3B = Shape(
    parameters=3_085_938_688,
    linear=36 * (2 * (2048 + 2048) + 2 * (2048 + 256) + 3 * (2048 + 11008)),
    layers=36,
    hidden=2048,
    intermediate=11008,
    queries=2048,
    keys=256,
    vocabulary=151_936,
    longest=32_768,
)
"""Qwen2.5-3B, by its configuration."""
QWEN_7B = Shape(
    7_615_616_512, 28 * (2 * 7168 + 2 * 4096 + 3 * 22_528), 28, 3584, 18_944, 3584, 512, 152_064, 32_768
)
CARD = Machine("cuda", 79 * GIB, 200 * GIB)
"""A card of 80 GB."""


def plan(shape: Shape = QWEN_3B, machine: Machine = CARD, **settings: Any) -> MemoryPlan:
    return plan_run(Settings(**{"batch_questions": 32, "group_size": 16, **settings}), machine, shape)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("lora", [0, 4])
@pytest.mark.parametrize("optimizer", ["adamw", "adamw-offload"])
def test_what_is_held_is_what_tensors_take(precision: str, lora: int, optimizer: str) -> None:
    if lora:
        pytest.importorskip("peft")
    settings = Settings(model="nano", precision=precision, lora=lora, optimizer=optimizer, device="cpu")
    trained = TrainedModel("nano", "cpu", lora, precision=precision)
    learner = make_learner(trained.weights, settings)
    trained.model(torch.arange(3, 20)[None]).logits.float().logsumexp(-1).sum().backward()
    gradients = sum(master.grad.nbytes for master in learner.masters.values())
    learner.optimizer.step()
    moments = sum(
        moment.nbytes
        for state in learner.optimizer.state.values()
        for name, moment in state.items()
        if name != "step"
    )
    held = plan_run(settings).held
    assert held["weights"] == sum(weight.nbytes for weight in trained.model.parameters())
    assert held["gradients"] == gradients
    assert held["moments"] == moments
    own = {id(weight) for weight in trained.weights.values()}
    assert held["masters"] == sum(m.nbytes for m in learner.masters.values() if id(m) not in own)


def test_adapters_of_experts_are_planned(tmp_path: Path) -> None:
    """By hand: four projections of attention, the router, and of four experts gate and up as one parameter,
    for which PEFT takes two ranks, and down."""
    pytest.importorskip("peft")
    make_model("mixtral", num_local_experts=4).save_pretrained(tmp_path)
    attention, router = 2 * (32 + 32) + 2 * (32 + 16), 32 + 4
    experts = 4 * (2 * (32 + 2 * 48) + 48 + 32)
    assert shape_of(str(tmp_path), adapters=True).linear == 3 * (attention + router + experts)
    assert shape_of(str(tmp_path)).linear == 0


def kept_for_backward(config: PreTrainedConfig, dtype: torch.dtype, tokens: int) -> int:
    """Bytes of all tensors that autograd keeps in a forward pass up to the last layer, weights apart."""
    model = AutoModelForCausalLM.from_config(config).to(dtype)
    attend_packed(model)
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = model.base_model(
            input_ids=torch.arange(tokens)[None] % 90,
            position_ids=torch.arange(tokens)[None],
            use_cache=False,
            packing=pack([np.arange(100), np.arange(1, tokens - 99)])[0],
        )
    assert out.last_hidden_state.requires_grad
    return sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in weights)


@pytest.mark.parametrize("family", [LlamaConfig, Qwen2Config])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("hidden", "intermediate", "heads", "keys"), [(128, 352, 4, 4), (256, 704, 8, 2)])
def test_activations_are_what_autograd_keeps(
    family: Any,
    dtype: torch.dtype,
    hidden: int,
    intermediate: int,
    heads: int,
    keys: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = family(
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_attention_heads=heads,
        num_key_value_heads=keys,
        num_hidden_layers=3,
        vocab_size=100,
    )
    head = hidden // heads
    shape = Shape(0, 0, 3, hidden, intermediate, hidden, keys * head, 100, 4096)
    planned = shape.activations(256, dtype.itemsize)
    for chunks in (True, False):  # on a CPU, and elsewhere
        monkeypatch.setattr(packed, "chunks_work", lambda chunks=chunks: chunks)
        assert 0.9 * planned < kept_for_backward(config, dtype, 256) <= 1.03 * planned


def test_keys_and_values_are_those_of_the_reader() -> None:
    reader = CausalReader(TrainedModel("nano", "cpu").model)
    assert shape_of("nano").cached * 4 == reader.layout.token_bytes


def test_a_3b_model_in_float32_weights_takes_what_was_worked_out_by_hand() -> None:
    """Before 16-bit weights and chunks: 114 GB, and 80 with checkpointing; logits were not cut."""
    weights = QWEN_3B.parameters
    fixed = 4 * weights + 4 * weights + 8 * weights + 4 * weights + 6 * GIB  # with a reference and caches
    fp32 = plan(precision="fp32", cache_gib=2.0, batch_gib=4.0)
    assert sum(fp32.held.values()) + 6 * GIB == fixed
    whole = 8192 * 151_936 * 4 * 2 // 3  # of which the agent wrote a third; float32, and their gradient
    for checkpointing, expected in ((False, 114e9), (True, 80e9)):
        total = fixed + whole + QWEN_3B.activations(8192, 2, checkpointing)
        assert total == pytest.approx(expected, rel=0.1)


def test_what_fits_a_card_of_80_gb() -> None:
    assert not plan(precision="fp32").fits
    assert plan(gradient_checkpointing=True).fits
    assert plan(QWEN_7B, lora=16, gradient_checkpointing=True).fits
    assert not plan(QWEN_7B, gradient_checkpointing=True).fits
    assert plan(QWEN_7B, gradient_checkpointing=True, optimizer="adamw-offload").fits
    poor = replace(CARD, host=64 * GIB)
    assert not plan(QWEN_7B, poor, gradient_checkpointing=True, optimizer="adamw-offload").fits


def test_caches_are_sized_to_what_is_free() -> None:
    wide = plan(gradient_checkpointing=True, lora=16)
    tight = plan(gradient_checkpointing=True, lora=16, machine=replace(CARD, free=24 * GIB))
    assert tight.cache_bytes < wide.cache_bytes
    assert wide.fits
    assert tight.fits
    assert plan(cache_gib=1.5, batch_gib=3.0).cache_bytes == 3 * GIB // 2
    served = plan(sampler="http://127.0.0.1:1")
    assert served.rollouts["sampling"] == 0
    unknown = plan_run(Settings(), Machine("mps", None, 8 * GIB), QWEN_3B)
    assert (unknown.cache_bytes, unknown.batch_bytes, unknown.fits) == (2 * GIB, 4 * GIB, True)


def test_a_copy_is_planned_for_each_model_that_does_not_learn() -> None:
    one = 2 * QWEN_3B.parameters
    for settings, copies in (
        ({}, 1),
        ({"kl_coef": 0.0}, 0),
        ({"kl_coef": 0.0, "scorer": "frozen"}, 1),
        ({"scorer": "refreshed:2"}, 2),
        ({"kl_coef": 0.0, "reward": "tips", "scorer": "none"}, 1),
    ):
        assert plan(**settings).held["frozen copies"] == copies * one
    assert plan(scorer="frozen", cache_gib=1.0).rollouts["prefix caches"] == 2 * GIB
    assert (
        plan(scorer="none", reward="outcome-f1", cache_gib=1.0, advantages="grpo").rollouts["prefix caches"]
        == GIB
    )
    assert plan(lora=8).held["frozen copies"] == 0  # the reference is the model without its adapters


def test_logits_are_planned_by_the_chunk() -> None:
    assert plan().update["logits"] == 4 * LOGIT_BYTES
    assert plan(micro_batch=64).update["logits"] == 4 * 64 * 151_936 * 4


def test_a_run_that_cannot_fit_says_what_would() -> None:
    with pytest.raises(SpecError, match=r"needs \S+ GiB where 79 are free; it would with --gradient-ch\S+$"):
        check_plan(plan(kl_coef=0.0))
    with pytest.raises(SpecError, match=r"it would with .*--lora 16$"):
        check_plan(plan(QWEN_7B, Machine("cuda", 24 * GIB, 32 * GIB)))
    with pytest.raises(SpecError, match="take a smaller model"):
        check_plan(plan(QWEN_7B, Machine("cuda", 8 * GIB, 32 * GIB)))


def test_a_plan_is_told_part_by_part() -> None:
    text = str(plan(QWEN_7B, gradient_checkpointing=True, optimizer="adamw-offload"))
    head, held, update, rollouts, host = text.splitlines()
    assert head.startswith("memory of nano-base in bf16 on cuda, in GiB: at most ")
    assert head.endswith(", 79 free")
    assert "weights 14.2, frozen copies 14.2" in held
    assert "activations" in update
    assert "prefix caches" in rollouts
    assert "masters 28.4, gradients 28.4, moments 56.7" in host
