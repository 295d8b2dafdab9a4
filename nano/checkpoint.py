"""Writes a trained network as a plain Llama checkpoint that transformers loads by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from torch import cat

from igpo_gym.storage import written_whole
from nano.network import Llama
from nano.tokenizer import BOS, EOS, PAD, token_id

if TYPE_CHECKING:
    from tokenizers import Tokenizer

EMBEDDING = "embed_tokens.weight"


def export(model: Llama, tokenizer: Tokenizer, folder: Path) -> None:
    """Write config, weights (safetensors, fp32) and tokenizer into ``folder``, whole or not at all.

    The embedding has a row for each of the tokenizer's tokens and no more: no id without text can be drawn.
    """
    from safetensors.torch import save_file

    bos, eos, pad = (token_id(tokenizer, token) for token in (BOS, EOS, PAD))
    size = tokenizer.get_vocab_size()
    config = model.shape.config(bos, eos, pad) | {
        "vocab_size": size,
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
    weights[f"model.{EMBEDDING}"] = weights[f"model.{EMBEDDING}"][:size].contiguous()
    with written_whole(folder) as new:
        save_file(weights, new / "model.safetensors", metadata={"format": "pt"})
        (new / "model.safetensors").chmod(0o644)  # safetensors leaves it to its owner alone
        (new / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        (new / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
        tokenizer.save(str(new / "tokenizer.json"))


def load_weights(model: Llama, folder: Path) -> None:
    """Put an exported checkpoint's weights into ``model``; rows for ids without a token stay as they are."""
    from safetensors.torch import load_file

    weights = {
        name.removeprefix("model."): value for name, value in load_file(folder / "model.safetensors").items()
    }
    beyond = model.state_dict()[EMBEDDING][len(weights[EMBEDDING]) :]
    model.load_state_dict(weights | {EMBEDDING: cat([weights[EMBEDDING], beyond])})
