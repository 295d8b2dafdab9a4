"""A language model in training: which of its weights learn, and the model that it began as."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint

from igpo_gym.hub import quiet
from igpo_gym.libraries import needs
from igpo_gym.lm.loading import choose_device, load_model
from igpo_gym.lm.packed import attend_packed
from igpo_gym.storage import written_whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel


logger = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class TrainedModel:
    """A causal language model of which all weights learn, or LoRA adapters on its linear layers.

    The adapters begin as ``seed`` draws them, whatever the process drew before.

    ``model`` is what is forwarded, adapters included; policies and scorers may share it. It attends packed
    (see ``lm.packed``). All weights are of one ``precision``, "fp32" or "bf16", and so is all that is
    computed with them, by whoever does it. It learns in evaluation mode, without dropout or noise, so that
    the same tokens always have the same log-probabilities. With ``checkpointing`` a layer keeps nothing but
    its input for the backward pass, which computes the layer again; a pass with gradients is then to be one
    with ``use_cache=False``.

    Raises SpecError if there is no such model, and MissingExtraError without peft where ``lora`` is not 0.
    """

    def __init__(
        self,
        spec: str,
        device: str = "auto",
        lora: int = 0,
        checkpointing: bool = False,
        seed: int = 0,
        precision: str = "fp32",
    ) -> None:
        self.model, self.tokenizer = load_model(spec, str(choose_device(device)), DTYPES[precision])
        attend_packed(self.model)
        self._adapted: Any = add_adapters(self.model, lora, seed) if lora else None
        if lora and not _reaches_experts(self.model):
            logger.warning(
                "LoRA reaches no experts of %s, whose weights stay as they are: its other layers learn",
                self.model.config.model_type,
            )
        if checkpointing:
            _checkpoint_layers(self.model)
        self.weights = {name: w for name, w in self.model.named_parameters() if w.requires_grad}
        """The weights that learn."""

    def copy(self) -> PreTrainedModel:
        """The model as it is now, on its own, adapters included."""
        return copy.deepcopy(self.model).eval().requires_grad_(False)

    @contextmanager
    def without_adapters(self) -> Iterator[PreTrainedModel]:
        """The model as it began, inside the block; for a model with adapters alone."""
        with self._adapted.disable_adapter():
            yield self.model

    def state(self) -> dict[str, torch.Tensor]:
        """All weights by name, as a model without adapters has them: these are merged in, one at a
        time, on the CPU."""
        if self._adapted is None:
            whole: dict[str, torch.Tensor] = self.model.state_dict()
            return whole
        state = {
            name.replace("base_layer.", ""): weight
            for name, weight in self.model.state_dict().items()
            if "lora_" not in name
        }
        with torch.no_grad():
            for name, module in self.model.named_modules():
                if hasattr(module, "get_delta_weight"):
                    # The experts of a mixture are parameters of one module, wrapped one around the other.
                    own = f"{name}.{getattr(module, 'parameter_name', 'weight')}".replace("base_layer.", "")
                    delta = sum(module.get_delta_weight(adapter) for adapter in module.active_adapters)
                    state[own] = (state[own].float() + delta).to("cpu", state[own].dtype)
        return state

    def save(self, folder: Path) -> None:
        """Write an ordinary transformers folder, adapters merged in, whole or not at all."""
        with written_whole(folder) as new, quiet():
            self.model.save_pretrained(new, state_dict=None if self._adapted is None else self.state())
            self.tokenizer.save_pretrained(new)


def _checkpoint_layers(model: PreTrainedModel) -> None:
    """Let each layer be computed again in the backward pass.

    transformers' own checkpointing wants the model in training mode, which has dropout and noise of many
    names: in the layers, in the routers of experts, in how these choose.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    for layer in model.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            layer.forward = partial(_computed_again, layer.forward)


def _computed_again(forward: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*arguments, **named)
    return checkpoint(forward, *arguments, use_reentrant=False, **named)


def add_adapters(model: PreTrainedModel, rank: int, seed: int = 0) -> Any:
    """Put LoRA adapters into ``model``; returns peft's wrapper around it.

    They are on all linear layers but the last, and on routers but those that give more than a tensor (PhiMoE,
    Llama 4), to which nothing can be added.
    """
    with needs("training LoRA adapters", "lora", "peft"):
        from peft import LoraConfig, get_peft_model
    others = [name for name, layer in model.named_modules() if _gives_more(layer)]
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        exclude_modules=others or None,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(model, config, autocast_adapter_dtype=False)  # all of one precision


@torch.no_grad()
def _gives_more(layer: torch.nn.Module) -> bool:
    """Whether it is a linear layer that gives something else than a tensor."""
    if not isinstance(layer, torch.nn.Linear) or type(layer).forward is torch.nn.Linear.forward:
        return False
    return not isinstance(layer(layer.weight.new_zeros(1, layer.in_features)), torch.Tensor)


def _reaches_experts(model: PreTrainedModel) -> bool:
    """Whether the experts of a mixture, where the model is one, have adapters."""
    experts = [name for name, w in model.named_parameters() if "experts." in name and w.dim() == 3]
    return all("base_layer" in name for name in experts)
