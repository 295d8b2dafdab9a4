"""A scorer that shares a policy's weights never answers with those that the policy had before."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import PreTrainedModel

from igpo_gym.lm.weights import WeightWatch
from igpo_gym.scorers.local import TransformersScorer
from tests.lm.tiny import make_model, make_tokenizer, naive_belief, request

REQUEST = request("Who wrote it?", turns=(1, 2), answers=("Grass", "Günter Grass"))


def train(model: PreTrainedModel, optimizer: type[torch.optim.Optimizer], **settings: float) -> None:
    model.train()
    step = optimizer(model.parameters(), **settings)  # type: ignore[call-arg]
    model(input_ids=torch.arange(6)[None], labels=torch.arange(6)[None]).loss.backward()
    step.step()


def load(model: PreTrainedModel) -> None:
    model.load_state_dict({name: 0.9 * weight for name, weight in model.state_dict().items()})


def replace_a_parameter(model: PreTrainedModel) -> None:
    layer = model.get_submodule("model.layers.1.mlp.up_proj")
    layer.weight = torch.nn.Parameter(0.5 * layer.weight.detach())


def train_copies(model: PreTrainedModel) -> None:
    """As DeepSpeed does (ZeRO-1 and 2): an optimizer has copies of the weights, which are written back."""
    copies = [torch.nn.Parameter(weight.detach().clone()) for weight in model.parameters()]
    for each in copies:
        each.grad = torch.ones_like(each)
    torch.optim.AdamW(copies, lr=0.01).step()
    for weight, each in zip(model.parameters(), copies, strict=True):
        weight.data.copy_(each.data)


def average(model: PreTrainedModel) -> None:
    """As a reference model that follows the policy is moved."""
    for weight in model.parameters():
        weight.data.mul_(0.9).add_(torch.full_like(weight, 0.1), alpha=0.1)


def load_in_inference_mode(model: PreTrainedModel) -> None:
    with torch.inference_mode():
        load(model)


def steer(model: PreTrainedModel) -> None:
    model.get_submodule("model.layers.0").register_forward_hook(lambda _, __, out: 0.5 * out)


def steer_before(model: PreTrainedModel) -> None:
    layer = model.get_submodule("model.layers.1.mlp")
    layer.register_forward_pre_hook(lambda _, given: (0.5 * given[0],))


CHANGES: dict[str, Callable[[PreTrainedModel], object]] = {
    "adamw": lambda model: train(model, torch.optim.AdamW, lr=0.1),
    "fused adamw": lambda model: train(model, torch.optim.AdamW, lr=0.1, fused=True),
    "sgd": lambda model: train(model, torch.optim.SGD, lr=0.1),
    "loaded": load,
    "replaced": replace_a_parameter,
    "copies of the weights are trained": train_copies,
    "averaged": average,
    "loaded in inference mode": load_in_inference_mode,
    "hooked": steer,
    "hooked before a module": steer_before,
    "moved": lambda model: model.to(torch.float64),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_weights_is_noticed(change: str) -> None:
    model = make_model("llama")
    scorer = TransformersScorer(model, make_tokenizer())
    (before,) = scorer.score([REQUEST])
    CHANGES[change](model)
    (after,) = scorer.score([REQUEST])
    training = model.training
    expected = naive_belief(model.eval(), scorer.framing, REQUEST)
    model.train(training)
    assert after.log_probs == pytest.approx(expected, abs=1e-5)
    if change != "moved":
        assert after.log_probs != pytest.approx(before.log_probs, abs=1e-3)
    # As long as nothing changes, only the probe and the answers are read again.
    twice = scorer.stats.tokens_forwarded
    scorer.score([REQUEST])
    assert scorer.stats.tokens_forwarded - twice < twice / 4


def test_a_hook_that_is_taken_off_again_is_noticed() -> None:
    model = make_model("llama")
    scorer = TransformersScorer(model, make_tokenizer())
    (before,) = scorer.score([REQUEST])
    hook = model.get_submodule("model.norm").register_forward_hook(lambda _, __, out: -out)
    (hooked,) = scorer.score([REQUEST])
    hook.remove()
    (after,) = scorer.score([REQUEST])
    assert after.log_probs == before.log_probs
    assert hooked.log_probs != pytest.approx(before.log_probs, abs=1e-3)


def test_weights_that_were_made_in_inference_mode_may_be_copied_into() -> None:
    """Of such tensors PyTorch counts no changes."""
    with torch.inference_mode():
        scorer = TransformersScorer(make_model("llama"), make_tokenizer())
        before = scorer.score([REQUEST])
        scorer.copy_weights(other := make_model("llama", initializer_range=0.2))
    (after,) = scorer.score([REQUEST])
    assert before[0].log_probs != pytest.approx(after.log_probs, abs=1e-3)
    assert after.log_probs == pytest.approx(naive_belief(other, scorer.framing, REQUEST), abs=1e-5)


def test_a_frozen_copy_keeps_its_weights_until_it_is_refreshed() -> None:
    policy = make_model("llama")
    scorer = TransformersScorer(copy.deepcopy(policy), make_tokenizer())
    before = scorer.score([REQUEST])
    train(policy, torch.optim.AdamW, lr=0.1)
    assert scorer.score([REQUEST]) == before
    scorer.copy_weights(policy)
    expected = naive_belief(policy.eval(), scorer.framing, REQUEST)
    assert scorer.score([REQUEST])[0].log_probs == pytest.approx(expected, abs=1e-5)


def test_other_models_and_forgotten_scorers_are_left_alone() -> None:
    model = make_model("llama")
    watch = WeightWatch(model)
    before = watch.state()
    other = make_model("llama")
    train(other, torch.optim.AdamW, lr=0.1, fused=True)
    assert watch.state() == before
    gone = weakref.ref(watch)
    del watch
    gc.collect()
    assert gone() is None  # though it was told of steps


def test_a_watch_may_be_collected_amid_a_step() -> None:
    """An optimizer walks through hooks that must not change meanwhile, whatever is collected."""
    model = make_model()
    watches = [WeightWatch(model)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def collect(*_: object) -> None:
        watches.clear()
        gc.collect()

    hooks = [register_optimizer_step_post_hook(each) for each in (collect, lambda *_: None)]
    try:
        optimizer.step()
    finally:
        for hook in hooks:
            hook.remove()
    assert not watches
