"""Noticing that a model is no longer what it was, whoever changed its weights or switched its adapters."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from igpo_gym.lm.wrappers import modules_of, settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NUMBERS = 16
"""Of how many numbers of each parameter a watch keeps track."""


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
    hooks: tuple[int, ...]
    """The numbers that PyTorch gave the forward hooks of its modules, no two alike."""
    numbers: bytes
    """A few numbers of each parameter: a write through ``tensor.data`` shows in nothing else."""


class WeightWatch:
    """Tells the state of a model's weights: parameters and buffers.

    Sees changes in place, loading, moving, replaced tensors, the steps of every ``torch.optim`` optimizer
    made while it exists, adapters that are switched, merged or weighted, and forward hooks that are added or
    removed (not what a hook changes in itself). Of a write through
    ``tensor.data`` (DeepSpeed's, from its own copies of the weights, or a moving average) it sees what
    changes one of ``NUMBERS`` numbers of a parameter, as a step of training does.
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
            hooks=tuple(
                number
                for module in modules
                for hooks in (module._forward_pre_hooks, module._forward_hooks)
                for number in hooks
            ),
            numbers=_numbers([weight for module in modules for weight in module._parameters.values()]),
        )

    def note(self, optimizer: torch.optim.Optimizer) -> None:
        """Count a step of an optimizer, if it was on any of the weights."""
        stepped = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        self._steps += any(id(weight) in stepped for weight in self._model.parameters())


@torch.no_grad()
def _numbers(weights: Iterable[torch.Tensor | None]) -> bytes:
    """Some numbers of each weight, from all over it."""
    found: dict[tuple[torch.dtype, torch.device], list[torch.Tensor]] = {}
    for weight in weights:
        if weight is not None and type(weight.data) is torch.Tensor and not weight.is_meta:
            size = weight.numel()
            step = max(1, size // NUMBERS - 1 | 1)  # odd, so that they are not all of one column
            some = weight.contiguous().as_strided((min(NUMBERS, size),), (step,))
            found.setdefault((weight.dtype, weight.device), []).append(some)
    return b"".join(torch.cat(each).view(torch.uint8).cpu().numpy().tobytes() for each in found.values())


_watches: weakref.WeakSet[WeightWatch] = weakref.WeakSet()


def _stepped(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for watch in list(_watches):
        watch.note(optimizer)


# Once for all, and never removed: an optimizer's step walks through its hooks, and a watch may be collected
# amid it.
register_optimizer_step_post_hook(_stepped)
