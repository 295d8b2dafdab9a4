"""What a training run will need of the memory, part by part, before anything is loaded.

The arithmetic is that of the trainer: weights of one precision, float32 masters where they have 16 bits,
gradients and moments in float32, a frozen copy of the model where something needs one, and then either what
an update holds (activations and a chunk of logits) or what rollouts hold (keys and values), since these are
never there at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from igpo_gym.agents.policies.language_model import BATCH_BYTES
from igpo_gym.agents.rollouts.branches import Branching
from igpo_gym.agents.training.logits import LOGIT_BYTES
from igpo_gym.agents.training.model import add_adapters
from igpo_gym.agents.training.settings import Settings
from igpo_gym.errors import SpecError
from igpo_gym.lm.loading import choose_device, load_shape
from igpo_gym.lm.reader import CACHE_BYTES, ROW_TOKENS
from igpo_gym.rewards import resolve_reward

GIB = 1 << 30

SPARE = 0.05
"""The share of the memory that is left to the driver, to kernels and to gaps."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model's size depends on, all in numbers of elements."""

    parameters: int
    linear: int
    """Inputs and outputs of all linear layers but the last, added up: what a LoRA rank takes, that of a
    mixture's experts included. 0 where nobody asked."""
    layers: int
    hidden: int
    intermediate: int
    queries: int
    """Of all query heads together."""
    keys: int
    """Of all key heads together; values are as many."""
    vocabulary: int
    longest: int
    """How many tokens the model reads."""

    @property
    def cached(self) -> int:
        """Of keys and values, for a token in all layers."""
        return 2 * self.keys * self.layers

    def activations(self, tokens: int, item: int, checkpointing: bool = False) -> int:
        """Bytes that a forward pass keeps for its backward pass, of elements of ``item`` bytes.

        A layer keeps what its two norms read, in float32, and what they give before and after their weights;
        queries after their rotation, what attention gives, three times (twice on a CPU); keys after their
        rotation and values; and four results of the MLP's width. With checkpointing it keeps its input, and
        one layer at a time is computed anew. One more norm follows the layers.
        """
        norm = (4 + item) * self.hidden
        inner = item * (2 * self.hidden + 4 * self.queries + 2 * self.keys + 4 * self.intermediate)
        layer = 2 * norm + inner
        kept = self.layers * item * self.hidden + layer if checkpointing else self.layers * layer
        return tokens * (kept + norm)


@lru_cache(maxsize=8)
def shape_of(spec: str, adapters: bool = False) -> Shape:
    """The shape of a model by its name, without its weights; with ``adapters``, what a LoRA rank takes, too.

    Raises SpecError if there is no such model, and MissingExtraError where adapters want peft.

    >>> shape = shape_of("nano")
    >>> shape.cached == 2 * shape.keys * shape.layers, shape.parameters > 1_000_000
    (True, True)
    """
    model = load_shape(spec)
    config = model.config.get_text_config()
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    parameters = model.num_parameters()
    if adapters:
        add_adapters(model, rank=1)
    return Shape(
        parameters=parameters,
        linear=sum(w.numel() for w in model.parameters() if w.requires_grad) if adapters else 0,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        intermediate=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        queries=config.num_attention_heads * head,
        keys=(getattr(config, "num_key_value_heads", None) or config.num_attention_heads) * head,
        vocabulary=config.vocab_size,
        longest=getattr(config, "max_position_embeddings", None) or 1 << 15,
    )


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a run takes place, and the bytes that are free there; None where nothing tells."""

    kind: str
    free: int | None
    host: int | None
    """Of the CPU's memory."""

    @classmethod
    def of(cls, device: str) -> Machine:
        """The machine of a setting ``device``, as it is now."""
        place, host = choose_device(device), _free_on_cpu()
        free = torch.cuda.mem_get_info(place)[0] if place.type == "cuda" else None
        return cls(place.type, host if place.type == "cpu" else free, host)


def _free_on_cpu() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")), None)


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The memory of a run, in bytes."""

    settings: Settings
    machine: Machine
    shape: Shape
    precision: str
    held: Mapping[str, int]
    """What is there from the start to the end."""
    update: Mapping[str, int]
    """What is there in an update as well."""
    rollouts: Mapping[str, int]
    """What is there in rollouts as well."""
    on_host: Mapping[str, int]
    """What lies in the CPU's memory, though the run does not."""
    cache_bytes: int
    batch_bytes: int

    @property
    def peak(self) -> int:
        """The most that is there at a time, with what is spared."""
        most = max(sum(self.update.values()), sum(self.rollouts.values()))
        return int((sum(self.held.values()) + most) * (1 + SPARE))

    @property
    def fits(self) -> bool:
        """Whether there is as much, as far as anything tells."""
        host = sum(self.on_host.values()) * (1 + SPARE)
        return all(
            free is None or need <= free
            for need, free in ((self.peak, self.machine.free), (host, self.machine.host))
        )

    def __str__(self) -> str:
        parts = {"held": self.held, "in an update": self.update, "in rollouts": self.rollouts}
        parts["in the CPU's memory"] = self.on_host
        lines = [
            f"  {title + ':':21}" + ", ".join(f"{name} {_gib(size)}" for name, size in named.items() if size)
            for title, named in parts.items()
            if any(named.values())
        ]
        free = "" if self.machine.free is None else f", {_gib(self.machine.free)} free"
        place = f"{self.settings.model} in {self.precision} on {self.machine.kind}"
        return "\n".join([f"memory of {place}, in GiB: at most {_gib(self.peak)}{free}", *lines])


def _gib(size: int) -> str:
    return f"{size / GIB:.3g}" if size < 100 * GIB else f"{size / GIB:.0f}"


def plan_run(settings: Settings, machine: Machine | None = None, shape: Shape | None = None) -> MemoryPlan:
    """The memory of a run; by default on this machine as it is now.

    Raises SpecError if there is no such model, and MissingExtraError without peft where there are adapters.
    """
    s, machine = settings, machine or Machine.of(settings.device)
    shape = shape or shape_of(s.model, adapters=s.lora > 0)
    precision = s.precision if s.precision != "auto" else "bf16" if machine.kind == "cuda" else "fp32"
    item = 2 if precision == "bf16" else 4
    offload = s.optimizer == "adamw-offload"
    adapters = s.lora * shape.linear
    learned = adapters or shape.parameters
    moments = learned * (2 if s.optimizer == "adamw-8bit" else 8)
    masters = learned * 4 if offload or item == 2 else 0
    stepping = {"masters": masters, "gradients": learned * 4, "moments": moments}
    held = {"weights": (shape.parameters + adapters) * item}
    held |= {"frozen copies": _copies(s) * (shape.parameters + adapters) * item}
    apart = offload and machine.kind != "cpu"
    held |= {} if apart else stepping
    chunk = min(LOGIT_BYTES, s.micro_batch * shape.vocabulary * 4)
    update = {
        "activations": shape.activations(s.micro_batch, item, s.gradient_checkpointing),
        "logits": 4 * chunk,  # as computed, in float32, their exponentials, their gradient
    }
    passing = shape.activations(min(ROW_TOKENS, s.micro_batch), item) // shape.layers
    leaves = s.group_size if s.branch is None else Branching.parse(s.branch).leaves(s.group_size)
    episodes = s.batch_questions * leaves
    most = min(shape.longest, 1 << 15) * episodes * shape.cached * item
    room = None
    if machine.kind == "cuda" and machine.free is not None:
        room = max(0, int(machine.free / (1 + SPARE)) - sum(held.values()) - passing)
    readers = _readers(s)
    cache = int(s.cache_gib * GIB) or min(most, CACHE_BYTES if room is None else room // 3 // max(1, readers))
    batch = int(s.batch_gib * GIB) or min(most, BATCH_BYTES if room is None else room // 2)
    rollouts = {
        "prefix caches": readers * cache,
        "sampling": 0 if s.sampler != "local" else batch,
        "passes": passing,
    }
    return MemoryPlan(
        s, machine, shape, precision, held, update, rollouts, stepping if apart else {}, cache, batch
    )


def _copies(settings: Settings) -> int:
    """How many copies of the model there are that do not learn: one as it began, one that is refreshed."""
    s = settings
    begun = (s.kl_coef and not s.lora) or s.scorer == "frozen" or _refers(s)
    return bool(begun) + bool(s.refresh_every)


def _readers(settings: Settings) -> int:
    """How many prefix caches there are: the policy's, which its own scorer shares, and frozen scorers'."""
    s = settings
    policy = s.sampler == "local" or s.scorer == "policy"
    return policy + (s.scorer == "frozen" or s.refresh_every is not None) + _refers(s)


def _refers(settings: Settings) -> bool:
    """Whether the model as it began is the frozen one that the reward needs."""
    return settings.reference is None and "reference" in resolve_reward(settings.reward).needs


CHANGES: tuple[dict[str, Any], ...] = (
    {"gradient_checkpointing": True},
    {"micro_batch": 2048},
    {"cache_gib": 1.0, "batch_gib": 1.0},
    {"optimizer": "adamw-offload"},
    {"kl_coef": 0.0},
    {"lora": 16},
)
"""What makes a run smaller, that which changes least first."""


def check_plan(plan: MemoryPlan) -> None:
    """Raise SpecError, with what to change, for a run that cannot fit."""
    if plan.fits:
        return
    options = [
        f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
        for name, value in smaller(plan).items()
    ]
    cure = f"it would with {' '.join(options)}" if options else "take a smaller model"
    needs = [f"{_gib(plan.peak)} GiB where {_gib(plan.machine.free or 0)} are free"]
    if host := sum(plan.on_host.values()):
        needs.append(f"{_gib(host)} GiB in the CPU's memory where {_gib(plan.machine.host or 0)} are free")
    raise SpecError(f"the run cannot fit: it needs {' and '.join(needs)}; {cure}")


def smaller(plan: MemoryPlan) -> dict[str, Any]:
    """The settings of ``CHANGES`` with which the run would fit; empty where none would do."""

    def fits(changes: Mapping[str, Any]) -> bool:
        return plan_run(replace(plan.settings, **changes), plan.machine, plan.shape).fits

    changes: dict[str, Any] = {}
    for change in CHANGES:
        changes |= change
        if fits(changes):
            break
    else:
        return {}
    for name in reversed(list(changes)):  # some are not needed beside the others
        without = {other: value for other, value in changes.items() if other != name}
        if fits(without):
            changes = without
    return changes
