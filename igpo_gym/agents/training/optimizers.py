"""AdamW over the weights that learn: in their own precision, or over float32 copies of them.

Steps of a learning rate of 1e-6 are lost in the rounding of 16 bits, so weights of 16 bits are copies of
float32 *masters*: gradients are added up in the masters' precision, the optimizer steps on the masters, and
the weights then take over what they have become. The masters, their gradients and moments may lie in the
memory of the CPU, 16 bytes a weight, and the GPU then holds the 16-bit weights alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from igpo_gym.agents.training.settings import Settings
from igpo_gym.libraries import needs


@dataclass(frozen=True, slots=True)
class Learner:
    """An optimizer, and what it steps on.

    >>> weight = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    >>> learner = make_learner({"w": weight}, Settings(learning_rate=0.001))
    >>> (weight * 2).sum().backward()
    >>> learner.optimizer.step()
    >>> learner.masters["w"].tolist(), weight.tolist()
    ([0.999..., 0.999...], [1.0, 1.0])
    """

    optimizer: torch.optim.Optimizer
    weights: Mapping[str, Tensor]
    """The weights of the model that learn, by name."""
    masters: Mapping[str, Tensor]
    """What the optimizer steps on: the weights themselves, or float32 copies of them."""

    def state(self) -> dict[str, object]:
        """What a checkpoint keeps."""
        masters = {name: master.detach() for name, master in self.masters.items()}
        return {"weights": masters, "optimizer": self.optimizer.state_dict()}

    def load(self, state: Mapping[str, object]) -> None:
        """Go on from what :meth:`state` told."""
        stored = state["weights"]
        assert isinstance(stored, dict)
        with torch.no_grad():
            for name, master in self.masters.items():
                master.copy_(stored[name])
        take_over(self.weights, self.masters)
        self.optimizer.load_state_dict(state["optimizer"])  # type: ignore[arg-type]


def make_learner(weights: Mapping[str, Tensor], settings: Settings) -> Learner:
    """The optimizer of the settings over ``weights``, which lie where they will be trained.

    Raises MissingExtraError for 8-bit moments without the library that has them.
    """
    s = settings
    offload = s.optimizer == "adamw-offload"
    coarse = any(weight.dtype != torch.float32 for weight in weights.values())
    masters = _masters(weights, torch.device("cpu") if offload else None) if offload or coarse else weights
    stepped = list(masters.values())
    if s.optimizer == "adamw-8bit":
        optimizer = _eight_bit(stepped, s)
    else:
        optimizer = torch.optim.AdamW(
            stepped,
            lr=s.learning_rate,
            weight_decay=s.weight_decay,
            fused=True if offload else None,  # on a CPU, one pass over the memory in place of many
        )
    if masters is not weights:
        optimizer.register_step_post_hook(lambda *_: take_over(weights, masters))
    return Learner(optimizer, weights, masters)


def _masters(weights: Mapping[str, Tensor], device: torch.device | None) -> dict[str, Tensor]:
    """A float32 copy of each weight; the gradients of a weight are added to its copy's as they come."""
    masters = {}
    for name, weight in weights.items():
        master = weight.detach().to(device or weight.device, torch.float32, copy=True)
        masters[name] = master.requires_grad_()

        def hand_over(weight: Tensor, master: Tensor = master) -> None:
            assert weight.grad is not None
            gradient = weight.grad.to(master.device, master.dtype)
            master.grad = gradient if master.grad is None else master.grad.add_(gradient)
            weight.grad = None

        weight.register_post_accumulate_grad_hook(hand_over)  # type: ignore[no-untyped-call]
    return masters


@torch.no_grad()
def take_over(weights: Mapping[str, Tensor], masters: Mapping[str, Tensor]) -> None:
    """Round the masters into the weights."""
    for name, weight in weights.items():
        if weight is not masters[name]:
            weight.copy_(masters[name])


def _eight_bit(masters: list[Tensor], settings: Settings) -> torch.optim.Optimizer:
    with needs("an optimizer with moments in 8 bits", "8bit", "bitsandbytes"):
        from bitsandbytes.optim import AdamW8bit
    made: torch.optim.Optimizer = AdamW8bit(
        masters, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    return made


def learning_rate(settings: Settings, updates: int) -> float:
    """The learning rate of an update before which there were ``updates``.

    It rises over ``warmup`` updates in equal steps; ``linear`` and ``cosine`` then fall, and would be at 0
    one update after the run's last.

    >>> rates = [learning_rate(Settings(updates=4, warmup=2, schedule="linear"), each) for each in range(4)]
    >>> [round(rate / 1e-4, 3) for rate in rates]
    [0.5, 1.0, 1.0, 0.5]
    """
    s = settings
    if updates < s.warmup:
        return s.learning_rate * (updates + 1) / s.warmup
    done = min(1.0, (updates - s.warmup) / max(1, s.updates - s.warmup))
    left = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}
    return s.learning_rate * left[s.schedule]
