"""What a language model is wrapped in while it is trained: adapters, parallel training, a compiler.

A scorer or a policy forwards the language model inside, with its adapters as they are at the moment. What
cannot be forwarded by one process alone, or does more than its layers do, is refused by name.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from igpo_gym.errors import SpecError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Model = TypeVar("Model", bound=torch.nn.Module)

OUTER = ("module",)
"""Under which name DDP and DeepSpeed hold the model that they wrap."""

INNER = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""The same of torch.compile, FSDP and activation checkpointing, which wrap parts of a model too."""

GATHER = (
    "the weights are sharded over processes, and one of them cannot forward the model alone: give a scorer a "
    "model of its own, and refresh it with copy_weights()"
)


def unwrapped(model: torch.nn.Module) -> PreTrainedModel:
    """The transformers model that ``model`` is or wraps; adapters stay in its layers.

    Raises SpecError, by name, for weights that are not whole in this process (FSDP, ZeRO-3, tensor
    parallelism, offloading), for adapters that do more than their layers do (prompt tuning, X-LoRA), and for
    what holds no transformers model.

    >>> from igpo_gym.lm.loading import load_model
    >>> model, _ = load_model("nano", "cpu")
    >>> unwrapped(torch.nn.DataParallel(model)) is model
    True
    """
    from transformers import PreTrainedModel

    name = type(model).__name__
    for weight, tensor in model.named_parameters():  # before anything is forwarded, which could wait for ever
        if _sharded(tensor):
            raise SpecError(f"{name} cannot be driven ({weight}): {GATHER}")
        if tensor.is_meta:
            raise SpecError(f"{name} cannot be driven: its weight {weight} is offloaded")
    inside = model
    while not isinstance(inside, PreTrainedModel):
        if type(inside).__name__ == "FullyShardedDataParallel":
            raise SpecError(f"{name} cannot be driven: {GATHER}")
        if hasattr(inside, "peft_config"):
            _check_adapters(inside)
        held = _held(inside)
        if held is None:
            raise SpecError(f"{name} cannot be driven: it neither is nor wraps a transformers model")
        inside = held
    return inside


def _held(model: Any) -> Any:
    """The model that this one wraps as a whole; None if it wraps none."""
    if hasattr(model, "peft_config") and "base_model" in model._modules:
        return model.base_model.model
    return next((model._modules[name] for name in OUTER + INNER if name in model._modules), None)


def _sharded(tensor: torch.Tensor) -> bool:
    """Whether this process holds a part of the weight alone: FSDP2 and tensor parallelism, FSDP, ZeRO-3."""
    return hasattr(tensor, "full_tensor") or hasattr(tensor, "_is_flat_param") or tensor.numel() == 0


def _check_adapters(model: Any) -> None:
    """Refuse adapters of PEFT that act outside of the base model's layers.

    The names of those that act on the tokens are known; the others are compared with their base model on a
    few tokens, adapters in its layers included.
    """
    name = type(model).__name__
    for config in model.peft_config.values():
        kind = getattr(config.peft_type, "value", config.peft_type)
        if config.is_prompt_learning:
            raise SpecError(f"{name} cannot be driven: {kind} puts virtual tokens in front of a transcript")
        if getattr(config, "alora_invocation_tokens", None):
            raise SpecError(f"{name} cannot be driven: its adapter (aLoRA) begins at certain tokens")
    settle_adapters(model)
    alone = shared_view(model)
    ids = torch.arange(4, device=next(model.parameters()).device)[None]
    with torch.no_grad():
        try:
            all_of_it = alone(input_ids=ids, use_cache=False).logits
            inside = alone.base_model.model(input_ids=ids, use_cache=False).logits
            same = torch.allclose(all_of_it, inside, rtol=1e-2, atol=1e-2)
        except Exception:  # adapters that want more arguments fail in any way
            same = False
    if not same:
        kinds = ", ".join(sorted({str(config.peft_type.value) for config in model.peft_config.values()}))
        raise SpecError(f"{name} cannot be driven: its adapters ({kinds}) do more than their layers do")


def shared_view(model: Model) -> Model:
    """The same weights in modules and a config of their own, in evaluation mode.

    What is set on the view (its attention function, its mode, its adapters) does not reach other users of
    ``model``, such as a policy in training; what an optimizer does to the weights reaches the view.
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    view = copy.deepcopy(model, shared).eval()
    if vars(view).pop("_original_forward", None):  # Accelerate's: the weights' precision is not the trainer's
        del view.forward
    return view


def modules_of(model: torch.nn.Module) -> list[torch.nn.Module]:
    """All modules, each once: what ``model.modules()`` gives, sooner and in another order."""
    found, waiting = dict[int, torch.nn.Module](), [model]
    while waiting:
        module = waiting.pop()
        if id(module) not in found:
            found[id(module)] = module
            waiting += [child for child in module._modules.values() if child is not None]
    return list(found.values())


def settle_adapters(model: torch.nn.Module) -> None:
    """Take merged adapters that are switched off out of the weights, as PEFT would do at the next pass.

    Left to a pass of a view, the weights would change without the model's knowledge.
    """
    layer: Any
    for layer in modules_of(model):
        if _is_adapter(layer) and layer.merged and layer.disable_adapters:
            layer.unmerge()


def _is_adapter(module: Any) -> bool:
    """Whether the module is a layer of PEFT around another one."""
    return "base_layer" in module._modules and hasattr(module, "merged_adapters")


_OF_EVERY_MODULE = frozenset({*vars(torch.nn.Module()), "gradient_checkpointing"})
"""What says nothing about what a module computes."""


def settings(modules: Iterable[torch.nn.Module]) -> tuple[object, ...]:
    """What the modules are set to, beside their tensors: which adapters are on, merged, and how much they
    weigh, in PEFT's layers and in others; those of torch have no such settings.
    """
    return tuple(
        _frozen(value)
        for module in modules
        if not type(module).__module__.startswith("torch.nn.")
        for name, value in vars(module).items()
        if name not in _OF_EVERY_MODULE
    )


def _frozen(value: object) -> object:
    """A plain value that later changes of ``value`` do not reach; None for any other."""
    kind = type(value)
    if kind in (bool, int, float, str):
        return value
    if isinstance(value, (list, tuple)):
        return tuple(map(_frozen, value))
    if kind is dict:
        return tuple((name, _frozen(each)) for name, each in value.items())  # type: ignore[attr-defined]
    return frozenset(map(_frozen, value)) if isinstance(value, (set, frozenset)) else None


@torch.no_grad()
def copy_weights(target: PreTrainedModel, source: torch.nn.Module) -> None:
    """Write the weights of ``source`` into ``target``: the same model in any wrappers.

    Weights are all that a checkpoint holds: parameters, and buffers such as the biases of a router. Where the
    target has no adapters, those of the source that are on are merged in, a layer at a time. Where the source
    is sharded (FSDP2), all its processes have to call this. Raises SpecError, by name, for a weight that one
    of them lacks or that has another shape, and for a target with adapters if the source has others, or has
    switched them otherwise; nothing is written then.
    """
    inside = _innermost(source)
    own, others = (settings(filter(_has_adapters, modules_of(model))) for model in (target, inside))
    if own and own != others:
        raise SpecError("the two models differ in their adapters, or in which of them are on or merged")
    weights = _bare_weights if own else _plain_weights
    ours = dict(_kept(target))
    theirs = {name: (weight.shape, id(weight)) for name, weight in weights(inside)}
    tied = {id(weight): name for name, weight in sorted(ours.items())}
    for name in sorted(ours.keys() | theirs):
        if name not in theirs or name not in ours:
            has, lacks = (source, target) if name in theirs else (target, source)
            problem = f"{type(has).__name__} has {name}, and {type(lacks).__name__} has not"
        elif theirs[name][0] != ours[name].shape:
            shapes = f"{tuple(theirs[name][0])}, and {tuple(ours[name].shape)} is wanted"
            problem = f"{name} has the shape {shapes}"
        elif theirs[name] != theirs.get(one := tied[id(ours[name])]):
            problem = f"{one} and {name} are one weight here, and two in {type(source).__name__}"
        else:
            continue
        raise SpecError(f"cannot copy the weights: {problem}")
    for name, weight in weights(inside):
        ours[name].copy_(weight.full_tensor() if hasattr(weight, "full_tensor") else weight)


def not_finite(model: torch.nn.Module) -> list[str]:
    """The weights that hold a number that is nan or infinite, by name."""
    return [
        name
        for name, weight in model.state_dict().items()
        if weight.is_floating_point() and not weight.isfinite().all()
    ]


def _innermost(model: Any) -> Any:
    """The transformers model inside all wrappers, sharded or not, or what stands in its place."""
    from transformers import PreTrainedModel

    while not isinstance(model, PreTrainedModel) and (held := _held(model)) is not None:
        model = held
    return model


def _has_adapters(module: torch.nn.Module) -> bool:
    """Whether PEFT has put something around or beside this module."""
    return _is_adapter(module) or "original_module" in module._modules


def _own(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """A module's own parameters, and those of its buffers that a checkpoint holds."""
    for name, weight in (*module._parameters.items(), *module._buffers.items()):
        if weight is not None and name not in module._non_persistent_buffers_set:
            yield name, weight


def _kept(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """All weights by their names; one that is tied comes under each of its names."""
    for prefix, module in model.named_modules(remove_duplicate=False):
        for name, weight in _own(module):
            yield f"{prefix}.{name}".removeprefix("."), weight


def _bare_weights(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """All weights, adapters among them, by their names without those of wrappers."""
    for name, weight in _kept(model):
        yield ".".join(part for part in name.split(".") if part not in INNER), weight


def _plain_weights(module: Any, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """The weights by their names in a model without wrappers and adapters; those that are on are merged in.

    A weight that is tied comes under each of its names.
    """
    while (inner := _inner(module)) is not None:
        module = inner
    for name, weight in _own(module):
        yield prefix + name, weight
    for name, child in module.named_children():
        yield from _plain_weights(child, f"{prefix}{name}.")


def _inner(module: Any) -> Any:
    """What stands in the module's place where nothing is wrapped; None if it is itself what is meant."""
    if _is_adapter(module):
        if module.active_adapters and not (module.disable_adapters or module.merged):
            module = copy.deepcopy(module)
            module.merge()
        return module.base_layer
    if "original_module" in module._modules:  # a module of which PEFT trains a copy, or some rows
        if "token_adapter" in module._modules:
            return module.token_adapter
        active = [] if module.disable_adapters else module.active_adapters
        return module.modules_to_save[active[0]] if active else module.original_module
    return next((module._modules[name] for name in INNER if name in module._modules), None)
