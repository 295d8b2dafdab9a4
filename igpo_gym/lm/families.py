"""Which language models the scorer and the sampler can drive, found out once, when they are made.

transformers lets a model's attention be replaced, but a model may want more of it than the scorer's does
(chunks, a cap), or not ask it at all. Such a mistake would be silent, so a model is watched while it reads
a few tokens, and what is not known to be right is refused by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from igpo_gym.errors import SpecError
from igpo_gym.lm.cache import KeyValueLayout

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WATCHED = "igpo_gym_watched"
"""The name of the attention function that notes how a model calls it."""

SLIDING = "sliding_attention"
"""The name that configurations give to a layer whose tokens see the latest tokens alone."""

REFUSED_ARGUMENTS = {
    "softcap": "soft-capped attention scores",
    "s_aux": "attention sinks",
    "position_bias": "attention scores biased by position",
}
"""What a model may ask of its attention that the scorer's attention does not do."""

REFUSED_ROTATIONS = {"dynamic", "longrope"}
"""Rotary embeddings that change as a transcript grows, so that keys of earlier turns are no longer right."""


def compile_between_attention(view: PreTrainedModel) -> None:
    """Compile what stands beside the attention in each layer, for rows of any length.

    Not the layer as a whole: the scorer's attention takes another list of spans at every call, for each of
    which it would be compiled anew.
    """
    for layer in view.modules():
        parts = list(layer.children())
        if any(hasattr(part, "layer_idx") for part in parts):
            for part in parts:
                if not hasattr(part, "layer_idx"):
                    part.compile(dynamic=True)


def own_precision(model: PreTrainedModel) -> torch.autocast:
    """Computing in the precision of the model's weights, wherever it is asked: a trainer's autocast would
    mix others with what the cache holds."""
    return torch.autocast(model.device.type, enabled=False)


@contextmanager
def attention_function(
    view: PreTrainedModel, name: str, function: Callable[..., tuple[torch.Tensor, None]]
) -> Iterator[None]:
    """Let ``view`` attend with ``function``, which transformers then knows as ``name``, inside the block."""
    from transformers import AttentionInterface

    AttentionInterface.register(name, function)
    before = view.config._attn_implementation
    view.config._attn_implementation = name
    try:
        with own_precision(view):
            yield
    finally:
        view.config._attn_implementation = before


def key_value_layout(view: PreTrainedModel) -> KeyValueLayout:
    """The shape of the model's keys and values.

    Raises SpecError, by the model's name, if its attention is not what the scorer's attention computes.
    """
    name = type(view).__name__

    def refuse(what: str) -> SpecError:
        return SpecError(f"{name} cannot be driven: {what}")

    config = view.config
    if config.is_encoder_decoder:
        raise refuse("it is not a decoder-only language model")
    if "logits_to_keep" not in inspect.signature(view.forward).parameters:
        raise refuse("it cannot give the logits of chosen positions alone (logits_to_keep)")
    # Of a model that also reads pictures, the part that reads text.
    texts = config.get_text_config(decoder=True)
    types = getattr(texts, "layer_types", None) or ()
    if set(types) - {"full_attention", SLIDING}:
        raise refuse("it has layers other than full and sliding-window attention (chunked or linear ones)")
    if getattr(texts, "attn_temperature_tuning", False):  # Llama 4 counts within a row for it
        raise refuse("it scales its attention by a token's place in a row")
    if changing := _rotations(getattr(texts, "rope_parameters", None) or {}) & REFUSED_ROTATIONS:
        raise refuse(f"its rotary embedding ({changing.pop()}) changes with the length of the transcript")

    calls: list[tuple[object, torch.Tensor, torch.Tensor, object, Mapping[str, object]]] = []
    ids = torch.arange(4, device=view.device)[None]
    try:
        with torch.no_grad(), attention_function(view, WATCHED, _watched_attention):
            view(input_ids=ids, position_ids=ids, use_cache=False, igpo_gym_calls=calls)
    except Exception as problem:  # a model that was not made for this may fail in any way
        raise refuse(f"it fails with a replaced attention function ({problem})") from problem
    layers = [layer for layer, *_ in calls]
    if not layers or layers != list(range(len(layers))):
        raise refuse("its attention is not called through transformers' AttentionInterface, once per layer")
    windowed = any(arguments.get("sliding_window") is not None for *_, arguments in calls)
    if getattr(texts, "sliding_window", None) and not types and not windowed:
        raise refuse("it does not tell its attention function of its sliding window")
    for layer, _, _, mask, arguments in calls:
        if types and (types[layer] == SLIDING) != (arguments.get("sliding_window") is not None):
            raise refuse("it does not tell its attention function which layers have a sliding window")
        if mask is not None:
            raise refuse("it builds an attention mask of its own")
        for argument, what in REFUSED_ARGUMENTS.items():
            if arguments.get(argument) is not None:
                raise refuse(f"it has {what}")
    shapes = {tuple(tensor.shape) for _, key, value, *_ in calls for tensor in (key, value)}
    if len(shapes) > 1:
        raise refuse("its keys and values differ in shape")
    key = calls[0][1]
    return KeyValueLayout(len(calls), key.shape[1], key.shape[3], key.dtype, key.device)


def _watched_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    igpo_gym_calls: list[object] | None = None,
    **arguments: object,
) -> tuple[torch.Tensor, None]:
    if igpo_gym_calls is not None:
        igpo_gym_calls.append((getattr(module, "layer_idx", None), key, value, attention_mask, arguments))
    out = functional.scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
    )
    return out.transpose(1, 2), None


def _rotations(parameters: Mapping[str, object]) -> set[str]:
    """The kinds of rotary embedding in a config's ``rope_parameters``, which may be nested by layer type."""
    nested = [value for value in parameters.values() if isinstance(value, dict)]
    return {str(each.get("rope_type")) for each in (parameters, *nested)}
