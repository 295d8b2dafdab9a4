"""Writes a trained network as a plain Llama checkpoint that transformers loads by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from igpo_gym.storage import written_whole
from nano.network import Llama
from nano.tokenizer import BOS, EOS, PAD, token_id

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def export(model: Llama, tokenizer: Tokenizer, folder: Path) -> None:
    """Write config, weights (safetensors, fp32) and tokenizer into ``folder``, whole or not at all."""
    from safetensors.torch import save_file

    bos, eos, pad = (token_id(tokenizer, token) for token in (BOS, EOS, PAD))
    config = model.shape.config(bos, eos, pad) | {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "dtype": "float32",
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "model_max_length": model.shape.positions,
        "clean_up_tokenization_spaces": False,
    }
    weights = {f"model.{name}": value.detach().contiguous() for name, value in model.state_dict().items()}
    with written_whole(folder) as new:
        save_file(weights, new / "model.safetensors", metadata={"format": "pt"})
        (new / "model.safetensors").chmod(0o644)  # safetensors leaves it to its owner alone
        (new / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        (new / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
        tokenizer.save(str(new / "tokenizer.json"))


def load_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of an exported checkpoint under the names that :class:`Llama` gives them."""
    from safetensors.torch import load_file

    return {
        name.removeprefix("model."): value for name, value in load_file(folder / "model.safetensors").items()
    }
