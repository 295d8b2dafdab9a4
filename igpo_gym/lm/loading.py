"""Language models from a name, a folder or a GGUF file; from safetensors, and never with remote code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

import igpo_gym.specs as specs
from igpo_gym.errors import MissingExtraError, OldLibraryError, SpecError, first_line
from igpo_gym.hub import quiet, unreachable
from igpo_gym.libraries import needs, require
from igpo_gym.lm.names import MODEL_FORMS, NAMED, PACKAGED, SMOLLM2, check_name, packaged_folder
from igpo_gym.lm.smollm2 import weights
from igpo_gym.storage import cache_dir, written_whole

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def choose_device(device: str = "auto") -> torch.device:
    """``device``, where "auto" is the first of CUDA, MPS and CPU that is there. SpecError where it is not."""
    if device != "auto":
        try:
            place = torch.device(device)
        except RuntimeError:
            raise SpecError(f"unknown device {device!r}; choose auto, cpu, cuda or mps") from None
        there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if not there.get(place.type, True):
            raise SpecError(f"there is no device {device!r} for torch on this machine; choose auto or cpu")
        return place
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def load_model(
    spec: str | Path, device: str = "auto", dtype: torch.dtype | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model in evaluation mode, and its tokenizer; see :func:`load_reported`."""
    model, tokenizer, _ = load_reported(spec, device, dtype)
    return model, tokenizer


def load_reported(
    spec: str | Path, device: str = "auto", dtype: torch.dtype | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[str]]:
    """A model, its tokenizer, and the names of the checkpoint's tensors that the model has no place for.

    ``spec`` is one of ``PACKAGED``, a name on the hub, a local folder, or a ``.gguf`` file, which is
    converted at its first use (see :func:`gguf_folder`). ``dtype`` is float32 on CPU and bfloat16 elsewhere
    unless given. Raises SpecError with the reason if there is no such model, or if its checkpoint lacks
    weights.
    """
    place = choose_device(device)
    if dtype is None:
        dtype = torch.float32 if place.type == "cpu" else torch.bfloat16
    with specs.LOCK:  # transformers imports its parts when they are asked for, which threads must not share
        with needs("loading a model", "", "torch", "transformers"):
            from transformers import AutoModelForCausalLM, AutoTokenizer

        with _explained("model", spec) as where, quiet():
            _checked_config(where)
            tokenizer = AutoTokenizer.from_pretrained(**where)
            model, report = AutoModelForCausalLM.from_pretrained(
                **where,
                dtype=dtype,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
            )
    check_fit(str(spec), model, report, spare=True)
    return model.to(place).eval(), tokenizer, sorted(report["unexpected_keys"])


def check_fit(name: str, model: PreTrainedModel, report: Mapping[str, Any], spare: bool = False) -> None:
    """Raise SpecError where weights do not fit ``model``, with the first difference that loading reported.

    ``name`` is what they were loaded from. Weights that the model has no place for are let be where they are
    ``spare``.
    """
    lacking, beside = min(report["missing_keys"], default=""), min(report["unexpected_keys"], default="")
    if report["mismatched_keys"]:
        weight, there, needed = min(report["mismatched_keys"])
        difference = f"have {weight} in the shape {tuple(there)}, where {tuple(needed)} is needed"
    elif lacking:
        difference = f"lack {lacking}"
    elif beside and not spare:
        difference = f"have {beside}, for which there is no place"
    else:
        return
    raise SpecError(
        f"the weights {name!r} do not fit {type(model).__name__} with its configuration: they {difference}; "
        "save them from a whole model of this kind"
    )


def has_weights(spec: str | Path) -> bool:
    """Whether there are files of weights on this machine under a name, whole or not.

    >>> has_weights("nano"), has_weights("some/model-of-the-hub")
    (True, False)
    """
    if str(spec) in NAMED or str(spec).endswith(".gguf"):
        return True
    return any(True for form in _WEIGHT_FILES for _ in Path(spec).glob(form))


_WEIGHT_FILES = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json", "*.pt", "*.pth")
"""How files of weights are called; those behind the second are pickled, and never read."""


def load_shape(spec: str | Path) -> PreTrainedModel:
    """The model that is named as in :func:`load_model`, on the device "meta": all its shapes and no weights.

    Raises SpecError with the reason if there is none.
    """
    with specs.LOCK:
        from transformers import AutoModelForCausalLM

        with _explained("model", spec) as where, quiet(), torch.device("meta"):
            return AutoModelForCausalLM.from_config(_checked_config(where))


MAX_LAYERS = 1000
"""Layers that a model may have: the largest have a few hundred, and each takes time before it has weights."""


def _checked_config(where: Mapping[str, Any]) -> PreTrainedConfig:
    """The config of a model. ValueError for one with layers that would never end."""
    from transformers import AutoConfig

    config: PreTrainedConfig = AutoConfig.from_pretrained(**where)
    layers = getattr(config.get_text_config(), "num_hidden_layers", 0)
    if isinstance(layers, int) and layers > MAX_LAYERS:
        raise ValueError(f"its config.json names {layers:,} layers, and {MAX_LAYERS:,} are the most")
    return config


def load_tokenizer(spec: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model that is named as in :func:`load_model`, without the model.

    Raises SpecError with the reason if there is none.
    """
    with specs.LOCK:
        from transformers import AutoTokenizer

        with _explained("tokenizer", spec) as where, quiet():
            return AutoTokenizer.from_pretrained(**where)


@contextmanager
def _explained(what: str, spec: str | Path) -> Iterator[dict[str, Any]]:
    """The arguments by which transformers finds a model; SpecError, in one line, where it finds none."""
    source, problem_of_hub = _source(str(spec))
    where = {
        "pretrained_model_name_or_path": source,
        "trust_remote_code": False,
        "local_files_only": bool(problem_of_hub),
    }
    try:
        yield where
    except (MissingExtraError, OldLibraryError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as problem:  # a parser of damaged files may fail in any way: tokenizers raise Exception
        reason = first_line(problem)
        if problem_of_hub:
            reason = f"it is not in the local cache, and {problem_of_hub}"
        elif code := _remote_code(Path(source)):
            reason = f"{code}, which is never run"
        elif "trust_remote_code" in str(problem):
            reason = "it needs code of its own, which is never run"
        raise SpecError(f"cannot load the {what} {str(spec)!r} ({reason}); give {MODEL_FORMS}") from problem


def _source(spec: str) -> tuple[str, str]:
    """What transformers finds the model under, a folder or a name on the hub, and why the hub is no help."""
    check_name(spec)
    if spec in PACKAGED:
        folder = packaged_folder(spec)
        if not (folder / "config.json").is_file():
            raise SpecError(f"the model {spec!r} is not in this installation; give {MODEL_FORMS}")
        return str(folder), ""
    if spec == SMOLLM2:
        return str(gguf_folder(weights())), ""
    if spec.endswith(".gguf"):
        return str(gguf_folder(Path(spec))), ""
    if Path(spec).is_dir():
        return spec, ""
    return spec, unreachable()


def _remote_code(folder: Path) -> str:
    """Which file of a folder asks for code of its own, and for which; empty if none does."""
    for file in (folder / "config.json", folder / "tokenizer_config.json"):
        with suppress(OSError, ValueError):
            config = json.loads(file.read_text(encoding="utf-8"))
            if isinstance(config, dict) and (code := config.get("auto_map")):
                named = ", ".join(map(str, code.values())) if isinstance(code, dict) else str(code)
                return f"{file} asks for code of its own (auto_map: {named:.200})"
    return ""


def gguf_folder(path: Path) -> Path:
    """The safetensors folder of a GGUF file, converted to float32 at its first use (about half a minute).

    It lies in the package's cache under the hash of the file's content, so a moved file is not converted
    again. Raises SpecError if there is no such file or transformers cannot read it, and MissingExtraError
    without the optional dependencies that read it.
    """
    if not path.is_file():
        raise SpecError(f"there is no file {str(path)!r}; give {MODEL_FORMS}")
    folder = cache_dir() / "gguf" / specs.fingerprint(path)
    if not folder.exists():
        require("reading a GGUF file", "gguf", "gguf", "accelerate")
        # transformers takes a tokenizer or a configuration that lies beside the file for the file's own.
        with specs.LOCK, written_whole(folder) as new, TemporaryDirectory() as alone:
            _convert(_placed(path, Path(alone)), path, new)
    return folder


def _placed(path: Path, folder: Path) -> Path:
    """A file under another path: a link, or a copy where there are none."""
    place = folder / "model.gguf"
    try:
        place.symlink_to(path.resolve())
    except OSError:
        shutil.copyfile(path, place)
    return place


def _convert(place: Path, path: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source: dict[str, Any] = {
        "pretrained_model_name_or_path": str(place.parent),
        "gguf_file": place.name,
        "trust_remote_code": False,
        "local_files_only": True,
    }
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(**source)
            model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    except Exception as problem:  # a parser of foreign bytes may fail in any way
        raise SpecError(f"transformers cannot read the GGUF file {str(path)!r}: {problem}") from problem
    # The weights are plain now, but the model is still marked as quantized, and would refuse to be saved.
    model.hf_quantizer = None
    model.is_quantized = False
    del model.config.quantization_config
    with quiet():
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)
