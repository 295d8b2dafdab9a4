"""Text encoders of sentence-transformers: from safetensors, and never with code of their own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

import igpo_gym.specs as specs
from igpo_gym.errors import SpecError, first_line
from igpo_gym.hub import HUB_NAME, quiet, unreachable
from igpo_gym.libraries import needs
from igpo_gym.search.dense.vectors import FloatArray
from igpo_gym.text import well_formed, without_credentials

_HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]

_HASHED = ("modules.json", "config.json", "sentence_bert_config.json", "tokenizer.json", "vocab.txt")
"""What a vector depends on, beside the weights."""

_FORMS = "a folder with a sentence-transformers model in safetensors, or its name on the Hugging Face hub"


class Encoder:
    """A model that turns texts into vectors whose inner product says how near they are. Thread-safe."""

    def __init__(self, name: str, folder: Path, model: Any) -> None:
        self.name = name
        """The hub's name, or the folder's whole path."""
        self.fingerprint = _fingerprint(folder)
        self.dimension = int(model.get_embedding_dimension())
        self.similarity = str(model.similarity_fn_name)
        if self.similarity not in ("cosine", "dot"):
            raise SpecError(
                f"the encoder {name!r} compares by {self.similarity}; only cosine and dot will do"
            )
        prompts = {key: text for key, text in dict(model.prompts or {}).items() if text}
        self.query_prefix: str = prompts.get("query", "")
        """What the model itself puts before a query."""
        self.passage_prefix: str = next(
            (prompts[key] for key in ("document", "passage", "corpus") if key in prompts), ""
        )
        self._model, self._lock = model, Lock()

    def encode(self, texts: Sequence[str], prefix: str = "", batch_size: int = 32) -> FloatArray:
        """A vector for each text (texts x dimension), of length 1 where the model compares by cosine."""
        with self._lock:  # a tokenizer's padding is state, which threads must not share
            vectors = self._model.encode(
                [well_formed(text) for text in texts],
                prompt=prefix or None,
                batch_size=batch_size,
                show_progress_bar=False,
                normalize_embeddings=self.similarity == "cosine",
            )
        return np.asarray(vectors, np.float32).reshape(len(texts), self.dimension)


def load_encoder(name: str, device: str = "auto") -> Encoder:
    """The encoder in a folder, or of that name on the hub.

    Raises SpecError, in one line, where there is none, where it needs code of its own or has no safetensors,
    and MissingExtraError without sentence-transformers.
    """
    folder = _folder(name)
    for weights in sorted(folder.rglob("pytorch_model*.bin")):
        if not any(weights.parent.glob("*.safetensors")):
            raise SpecError(f"{weights} is not read: an encoder's weights must be in safetensors")
    with specs.LOCK, quiet():
        with needs("dense search", "dense", "sentence_transformers"):
            from sentence_transformers import SentenceTransformer
        try:
            model = SentenceTransformer(
                str(folder),
                device=None if device == "auto" else device,
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"use_safetensors": True},
            )
        except Exception as problem:  # foreign files may fail in any way
            reason = first_line(problem)
            raise SpecError(f"cannot load the encoder {name!r} ({reason}); give {_FORMS}") from problem
    return Encoder(str(folder.resolve()) if Path(name).is_dir() else name, folder, model.eval())


def _folder(name: str) -> Path:
    """The folder with the model; what is on the hub is downloaded, without what could run code."""
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file() and not (path / "modules.json").is_file():
            raise SpecError(f"there is no model in the folder {name!r}: no config.json; give {_FORMS}")
        return path
    if path.exists() or not HUB_NAME.fullmatch(name):
        shown = without_credentials(name)
        raise SpecError(f"there is no encoder {shown!r}: no such folder; give {_FORMS}")
    from huggingface_hub import snapshot_download

    offline = unreachable()
    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES, local_files_only=bool(offline)))
    except Exception as problem:  # the hub's client has many errors
        reason = f"it is not in the local cache, and {offline}" if offline else first_line(problem)
        raise SpecError(f"there is no encoder {name!r} ({reason}); give {_FORMS}") from problem


def _fingerprint(folder: Path) -> str:
    """A hash of all that a vector depends on: the same for a copy, and for a download."""
    digest = hashlib.blake2b(digest_size=16)
    places = [folder]
    if (folder / "modules.json").is_file():
        modules = json.loads((folder / "modules.json").read_bytes())
        places += [folder / module["path"] for module in modules if module["path"]]
    for place in places:
        files = [place / name for name in _HASHED] + sorted(place.glob("*.safetensors"))
        for file in files:
            if file.is_file():
                digest.update(f"{file.relative_to(folder)} {specs.fingerprint(file)}\0".encode())
    return digest.hexdigest()
