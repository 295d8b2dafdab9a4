"""A tiny random encoder, made on the spot, and a dense index that it built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from igpo_gym.search.dense import build_dense
from tests.conftest import PASSAGES
from tests.lm.tiny import make_tokenizer

PROMPTS = {"query": "query: ", "passage": "passage: "}


def save_encoder(folder: Path, seed: int = 0, **settings: Any) -> Path:
    """A random BERT whose mean over the tokens is a text's vector, of 32 numbers."""
    pytest.importorskip("sentence_transformers", reason="dense search needs the extra dense")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = BertConfig(vocab_size=400, max_position_embeddings=64, initializer_range=0.3, **sizes)
    plain = folder.with_name(f"{folder.name}-plain")
    BertModel(config).save_pretrained(plain)
    tokenizer = make_tokenizer(bos=False)
    tokenizer.pad_token = "</s>"
    tokenizer.save_pretrained(plain)
    words = Transformer(str(plain))
    model = SentenceTransformer(modules=[words, Pooling(32)], device="cpu", **settings)
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny encoder with prompts of its own."""
    return save_encoder(tmp_path_factory.mktemp("encoder") / "tiny", prompts=PROMPTS)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Path:
    """The folder of a dense index of a few passages; not to be written to."""
    folder = tmp_path_factory.mktemp("built") / "index"
    build_dense(PASSAGES, folder, str(encoder), device="cpu")
    return folder
