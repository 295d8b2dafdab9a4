"""Language models from a name, a folder or a GGUF file; from safetensors, and never with remote code."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from igpo_gym.errors import MissingExtraError, SpecError
from igpo_gym.storage import cache_dir, written_whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PACKAGED = ("nano", "nano-base")
"""The language models that ship with the package."""

MODEL_FORMS = (
    f"{' or '.join(PACKAGED)}, a model's name on the Hugging Face hub, a local folder with safetensors, "
    "or a .gguf file"
)


def choose_device(device: str = "auto") -> torch.device:
    """``device``, where "auto" is the first of CUDA, MPS and CPU that is there."""
    if device != "auto":
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def load_model(
    spec: str | Path, device: str = "auto", dtype: torch.dtype | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model in evaluation mode, and its tokenizer.

    ``spec`` is one of ``PACKAGED``, a name on the hub, a local folder, or a ``.gguf`` file, which is
    converted at its first use (see :func:`gguf_folder`). ``dtype`` is float32 on CPU and bfloat16 elsewhere
    unless given. Raises SpecError with the reason if there is no such model, or if its checkpoint lacks
    weights.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = choose_device(device)
    if dtype is None:
        dtype = torch.float32 if place.type == "cpu" else torch.bfloat16
    source = _source(str(spec))
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        model, report = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    except (OSError, ValueError, KeyError) as problem:
        reason = str(problem).strip().partition("\n")[0]
        raise SpecError(f"cannot load the model {str(spec)!r} ({reason}); give {MODEL_FORMS}") from problem
    if report["missing_keys"]:
        raise SpecError(
            f"the checkpoint of {str(spec)!r} lacks weights of {type(model).__name__}, such as "
            f"{min(report['missing_keys'])}: it was not saved from a whole causal language model"
        )
    return model.to(place).eval(), tokenizer


def load_tokenizer(spec: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model that is named as in :func:`load_model`, without the model.

    Raises SpecError with the reason if there is none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(_source(str(spec)), trust_remote_code=False)
    except (OSError, ValueError, KeyError) as problem:
        reason = str(problem).strip().partition("\n")[0]
        raise SpecError(
            f"cannot load the tokenizer {str(spec)!r} ({reason}); give {MODEL_FORMS}"
        ) from problem


def _source(spec: str) -> str:
    """What transformers finds the model under: a folder or a name on the hub."""
    if spec in PACKAGED:
        folder = Path(__file__).parents[1] / "models" / spec
        if not (folder / "config.json").is_file():
            raise SpecError(f"the model {spec!r} is not in this installation; give {MODEL_FORMS}")
        return str(folder)
    return str(gguf_folder(Path(spec))) if spec.endswith(".gguf") else spec


def gguf_folder(path: Path) -> Path:
    """The safetensors folder of a GGUF file, converted to float32 at its first use (about half a minute).

    It lies in the package's cache under the hash of the file's content, so a moved file is not converted
    again. Raises SpecError if there is no such file or transformers cannot read it, and MissingExtraError
    without the optional dependencies that read it.
    """
    if not path.is_file():
        raise SpecError(f"there is no file {str(path)!r}; give {MODEL_FORMS}")
    folder = cache_dir() / "gguf" / _content_hash(path)
    if not folder.exists():
        if not (find_spec("gguf") and find_spec("accelerate")):
            raise MissingExtraError("reading a GGUF file", "gguf")
        with written_whole(folder) as new:
            _convert(path, new)
    return folder


def _content_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:32]


def _convert(path: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**source)
        model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    except Exception as problem:  # a parser of foreign bytes may fail in any way
        raise SpecError(f"transformers cannot read the GGUF file {str(path)!r}: {problem}") from problem
    # The weights are plain now, but the model is still marked as quantized, and would refuse to be saved.
    model.hf_quantizer = None
    model.is_quantized = False
    del model.config.quantization_config
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
