"""Noticing that a model is no longer what it was, whoever changed its weights or switched its adapters."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from igpo_gym.lm.wrappers import modules_of, settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class WeightState(NamedTuple):
    """What a model's weights are known by. It changes when they do."""

    places: tuple[tuple[int, int], ...]
    """The identity of each tensor, and the address of its data."""
    versions: tuple[int, ...]
    """PyTorch's counts of the changes made to them in place."""
    steps: int
    """How often an optimizer has stepped on any of them: fused ones do not count as changes in place."""
    settings: tuple[object, ...]
    """What its modules are set to: which adapters are on, merged, and how much they weigh."""


class WeightWatch:
    """Tells the state of a model's weights: parameters and buffers.

    Sees changes in place, loading, moving, replaced tensors, the steps of every ``torch.optim`` optimizer
    made while it exists, and adapters that are switched, merged or weighted. Does not see another write
    through ``tensor.data``.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._steps = 0
        _watches.add(self)

    def state(self) -> WeightState:
        """The state now."""
        modules = modules_of(self._model)
        tensors = [
            tensor
            for module in modules
            for tensor in (*module._parameters.values(), *module._buffers.values())
            if tensor is not None
        ]
        return WeightState(
            places=tuple((id(tensor), tensor.data_ptr()) for tensor in tensors),
            versions=tuple(0 if tensor.is_inference() else tensor._version for tensor in tensors),
            steps=self._steps,
            settings=settings(modules),
        )

    def note(self, optimizer: torch.optim.Optimizer) -> None:
        """Count a step of an optimizer, if it was on any of the weights."""
        stepped = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        self._steps += any(id(weight) in stepped for weight in self._model.parameters())


_watches: weakref.WeakSet[WeightWatch] = weakref.WeakSet()


def _stepped(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for watch in list(_watches):
        watch.note(optimizer)


# Once for all, and never removed: an optimizer's step walks through its hooks, and a watch may be collected
# amid it.
register_optimizer_step_post_hook(_stepped)
