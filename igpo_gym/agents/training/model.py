"""A language model in training: which of its weights learn, and the model that it began as."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from igpo_gym.errors import MissingExtraError
from igpo_gym.lm.loading import choose_device, load_model, quiet
from igpo_gym.lm.packing import attend_packed
from igpo_gym.storage import written_whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TrainedModel:
    """A causal language model of which all weights learn, or LoRA adapters on its linear layers.

    The adapters begin as ``seed`` draws them, whatever the process drew before.

    ``model`` is what is forwarded, adapters included; policies and scorers may share it. It attends packed
    (see ``packing``). On a GPU all weights are float32, to be computed with in bfloat16 (autocast), but those
    that LoRA leaves as they are: they are bfloat16. Dropout is off, so that the same tokens always have the
    same log-probabilities.

    Raises SpecError if there is no such model, and MissingExtraError without peft where ``lora`` is not 0.
    """

    def __init__(
        self, spec: str, device: str = "auto", lora: int = 0, checkpointing: bool = False, seed: int = 0
    ) -> None:
        place = choose_device(device)
        halved = lora and place.type == "cuda"
        self.model, self.tokenizer = load_model(spec, str(place), torch.bfloat16 if halved else torch.float32)
        attend_packed(self.model)
        self._adapted: Any = _with_adapters(self.model, lora, seed) if lora else None
        self._turn_dropout_off()
        if checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
            self.model.train()  # which it looks at
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

    def save(self, folder: Path) -> None:
        """Write an ordinary transformers folder, adapters merged in, whole or not at all."""
        model = self.model
        if self._adapted is not None:
            model = copy.deepcopy(self._adapted).merge_and_unload()
        with written_whole(folder) as new, quiet():
            model.save_pretrained(new)
            self.tokenizer.save_pretrained(new)

    def _turn_dropout_off(self) -> None:
        for module in self.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if isinstance(getattr(module, "attention_dropout", None), float):
                module.attention_dropout = 0.0


def _with_adapters(model: PreTrainedModel, rank: int, seed: int) -> Any:
    """Put LoRA adapters into ``model``; returns peft's wrapper around it."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise MissingExtraError("training LoRA adapters", "lora") from None
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(model, config)
