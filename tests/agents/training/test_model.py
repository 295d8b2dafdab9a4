from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from igpo_gym.agents.training.memory import shape_of
from igpo_gym.agents.training.model import TrainedModel
from igpo_gym.lm import packed
from igpo_gym.lm.loading import load_model
from igpo_gym.lm.packing import pack
from tests.lm.tiny import make_model, make_tokenizer

IDS = torch.arange(3, 40)[None]


def saved(folder: Path, family: str, **settings: object) -> PreTrainedModel:
    model = make_model(family, **settings)
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return model


def test_all_weights_learn_and_a_copy_stays(tmp_path: Path) -> None:
    trained = TrainedModel("nano", "cpu")
    assert len(trained.weights) == len(list(trained.model.parameters()))
    copy = trained.copy()
    with torch.no_grad():
        before = trained.model(IDS).logits
        for weight in trained.weights.values():
            weight.mul_(1.01)
        after = trained.model(IDS).logits
        assert torch.equal(copy(IDS).logits, before)
        assert not torch.equal(after, before)
        trained.save(tmp_path / "model")
        assert torch.equal(load_model(tmp_path / "model", "cpu")[0](IDS).logits, after)


def test_adapters_alone_learn_and_are_saved_merged(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    trained = TrainedModel("nano", "cpu", lora=2)
    assert trained.weights
    assert all("lora_" in name for name in trained.weights)
    with torch.no_grad():
        before = trained.model(IDS).logits
        for weight in trained.weights.values():
            weight.add_(0.05)
        after = trained.model(IDS).logits
        assert not torch.allclose(after, before, atol=1e-2)
        with trained.without_adapters() as model:
            assert torch.equal(model(IDS).logits, before)
        assert torch.equal(trained.model(IDS).logits, after)
        trained.save(tmp_path / "model")
        assert torch.equal(trained.model(IDS).logits, after)
        saved, _ = load_model(tmp_path / "model", "cpu")
        assert torch.allclose(saved(IDS).logits, after, atol=1e-4)


MIXTURES: dict[str, dict[str, object]] = {
    "qwen3_moe": {
        "head_dim": 8,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
    },
    "mixtral": {"num_local_experts": 4},
}
UNREACHED: dict[str, dict[str, object]] = {
    "phimoe": {"num_local_experts": 4},
    "llama4_text": {"num_local_experts": 4, "head_dim": 8},
    "gpt_oss": {"num_local_experts": 4, "head_dim": 8},
    "granitemoe": {"num_local_experts": 4},
}
"""Mixtures whose experts PEFT does not reach; the routers of the first two give more than a tensor."""


@pytest.mark.parametrize("family", UNREACHED)
def test_experts_that_adapters_do_not_reach_are_told_and_stay(
    tmp_path: Path, family: str, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("peft")
    plain = saved(tmp_path / "plain", family, **UNREACHED[family])
    trained = TrainedModel(str(tmp_path / "plain"), "cpu", lora=2)
    (told,) = (line for line in caplog.messages if "LoRA" in line)
    assert told.startswith(f"LoRA reaches no experts of {family}")
    assert not any("router" in name or "experts" in name for name in trained.weights)
    with torch.no_grad():
        for weight in trained.weights.values():
            weight.add_(0.05)
        merged, before = trained.state(), plain.state_dict()
    assert merged.keys() == before.keys()
    changed = {name for name in before if not torch.equal(merged[name], before[name])}
    assert changed
    assert all("proj" in name and "experts" not in name for name in changed)
    trained.model(IDS).logits.sum().backward()
    assert all(weight.grad is not None for weight in trained.weights.values())
    shape = shape_of(str(tmp_path / "plain"), adapters=True)
    assert 2 * shape.linear == sum(weight.numel() for weight in trained.weights.values())


@pytest.mark.parametrize("family", MIXTURES)
def test_adapters_of_experts_are_saved_merged(tmp_path: Path, family: str) -> None:
    """PEFT wraps the experts' parameters, one around the other, and the router's."""
    pytest.importorskip("peft")
    plain = saved(tmp_path / "plain", family, **MIXTURES[family])
    trained = TrainedModel(str(tmp_path / "plain"), "cpu", lora=2)
    assert any("experts" in name for name in trained.weights)
    assert trained.state().keys() == plain.state_dict().keys()
    with torch.no_grad():
        for weight in trained.weights.values():
            weight.add_(0.05)
        after = trained.model(IDS).logits
        assert not torch.allclose(after, plain(IDS).logits, atol=1e-2)
        trained.save(tmp_path / "model")
        merged, _ = load_model(tmp_path / "model", "cpu")
        assert torch.allclose(merged(IDS).logits, after, atol=1e-3)


def test_adapters_begin_as_the_seed_draws_them() -> None:
    pytest.importorskip("peft")

    def drawn(seed: int) -> list[torch.Tensor]:
        weights = TrainedModel("nano", "cpu", lora=2, seed=seed).weights
        return [weight for name, weight in weights.items() if "lora_A" in name]

    state = torch.get_rng_state()
    first, other = drawn(0), drawn(1)
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's numbers are changed
    torch.rand(1)
    again = drawn(0)
    assert first
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))


def test_checkpointing_gives_the_same_gradients() -> None:
    """In the first pass of a process, too, before anything is known of its kernels."""
    packed.chunks_work.cache_clear()
    saving, plain = TrainedModel("nano", "cpu", checkpointing=True), TrainedModel("nano", "cpu")
    packing, _ = pack([IDS[0, :20].numpy(), IDS[0, 20:].numpy()])
    read = torch.tensor([30, 4, 19])
    for trained in (saving, plain):
        out = trained.model(IDS, packing=packing.reading(read), logits_to_keep=read, use_cache=False)
        out.logits.logsumexp(-1).mean().backward()
    for ours, theirs in zip(plain.weights.values(), saving.weights.values(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)


NOISY: dict[str, dict[str, object]] = {
    "llama": {"attention_dropout": 0.3},
    "seed_oss": {"residual_dropout": 0.3},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32, "dropout": 0.3, "layerdrop": 0.3},
    "biogpt": {"hidden_dropout_prob": 0.3, "activation_dropout": 0.3, "layerdrop": 0.3},
    "starcoder2": {"residual_dropout": 0.3, "embedding_dropout": 0.3},
    "mixtral": {"num_local_experts": 4, "router_jitter_noise": 0.3},
    "phimoe": {"num_local_experts": 4, "router_jitter_noise": 0.3, "input_jitter_noise": 0.3},
}
"""Models that draw at random in training, each in its own way."""


@pytest.mark.parametrize("family", NOISY)
def test_a_checkpointed_model_draws_nothing_at_random(tmp_path: Path, family: str) -> None:
    model = saved(tmp_path, family, **NOISY[family])
    trained = TrainedModel(str(tmp_path), "cpu", checkpointing=True)
    first = next(each for each in trained.model.modules() if isinstance(each, torch.nn.Linear))
    calls: list[object] = []
    first.register_forward_hook(lambda *_: calls.append(None))
    for one in (model, trained.model):
        one(IDS, use_cache=False).logits.logsumexp(-1).mean().backward()
    assert len(calls) == 2, "the layer is computed again in the backward pass"
    with torch.no_grad():
        expected = model(IDS, use_cache=False).logits
        assert torch.allclose(trained.model(IDS).logits, expected, atol=1e-4)
    for ours, theirs in zip(trained.model.parameters(), model.parameters(), strict=True):
        assert ours.grad is None or torch.allclose(ours.grad, theirs.grad, atol=1e-5)
        assert (ours.grad is None) == (theirs.grad is None)
