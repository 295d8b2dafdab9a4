"""New weights for a model that is served: found below one folder, checked, and loaded beside the old ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import igpo_gym.specs as specs
from igpo_gym.errors import SpecError, first_line
from igpo_gym.hub import quiet
from igpo_gym.lm.loading import check_fit
from igpo_gym.lm.wrappers import not_finite

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FLOATS = ("F16", "BF16", "F32", "F64")
"""The dtypes of weights that can be read as they stand; quantized ones cannot."""

LEFT_OUT = frozenset(
    {
        *("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache", "architectures"),
        *("bos_token_id", "eos_token_id", "pad_token_id", "attention_dropout"),
    }
)
"""Fields of a configuration that do not change what the model computes when it is asked."""


LONGEST_NAME = 255
"""How many characters the name of pushed weights may have."""


def folder_below(root: Path, name: str) -> Path:
    """The folder of weights that ``name`` means below ``root``.

    Raises SpecError for a name that leads out of it (by "..", as an absolute path, by a link), that is not
    there, or that has no safetensors.

    >>> folder_below(Path("weights"), "../other")
    Traceback (most recent call last):
    igpo_gym.errors.SpecError: '../other' is no name below the folder of weights
    """
    root = root.resolve()
    parts = Path(name).parts if name.isprintable() and len(name) <= LONGEST_NAME else ()
    if not parts or ".." in parts or Path(name).is_absolute():
        raise SpecError(f"{name!r:.80} is no name below the folder of weights")
    folder = root / name
    files = sorted(folder.glob("*.safetensors"))
    indices = list(folder.glob("*.index.json"))
    for path in (folder, *files, folder / "config.json", *indices):
        if not path.resolve().is_relative_to(root):
            raise SpecError(f"{name!r:.80} leads out of the folder of weights")
    if (folder / "adapter_config.json").exists():  # its base model may be anywhere
        raise SpecError(f"{name!r:.80} is an adapter; merge it into its model, and save that")
    beside = {file.name for file in files}
    if outside := sorted({part for index in indices for part in _parts(index)} - beside):
        raise SpecError(f"{name!r:.80} has an index that names {outside[0]!r:.80}, no safetensors beside it")
    if not files:
        raise SpecError(f"there are no safetensors under the name {name!r:.80}; save the model there first")
    return folder


def _parts(index: Path) -> set[str]:
    """The files that an index of weights names. Raises SpecError for what is none."""
    try:
        return {str(part) for part in json.loads(index.read_bytes())["weight_map"].values()}
    except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError):
        raise SpecError(f"{index.name} of {index.parent.name!r} is no index of weights") from None


def load_like(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """A model with the weights of ``folder`` and the architecture of ``model``, which stays as it is.

    It is on the CPU, in the dtype of ``model``. Raises SpecError, with the first difference, for weights of
    another architecture: other settings, names or shapes, or a dtype that is no plain float; and for numbers
    that are not finite.
    """
    _check_settings(model, folder)
    _check_dtypes(folder)
    with specs.LOCK, quiet():
        try:
            loaded, report = type(model).from_pretrained(
                folder,
                config=model.config,
                generation_config=model.generation_config,  # of which the folder may have none
                dtype=model.dtype,
                use_safetensors=True,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # so that they are told by name, below
                output_loading_info=True,
            )
        except Exception as problem:  # whatever a damaged file makes its libraries raise
            raise SpecError(f"cannot load the weights {folder.name!r}: {first_line(problem)}") from None
    check_fit(folder.name, loaded, report)
    if spoiled := not_finite(loaded):
        raise SpecError(f"the weights {folder.name!r} have numbers in {spoiled[0]} that are not finite")
    return loaded.eval()


def _check_settings(model: PreTrainedModel, folder: Path) -> None:
    if not (folder / "config.json").exists():
        return
    from transformers import AutoConfig

    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            theirs = config.to_dict()
    # The file may hold any JSON, and each model's class checks fields in its own way: OSError, ValueError,
    # TypeError, ZeroDivisionError and the hub's own validation errors have been seen.
    except Exception as problem:
        raise SpecError(f"cannot read config.json of {folder.name!r}: {first_line(problem)}") from None
    ours = model.config.to_dict()
    for name in sorted((ours.keys() | theirs.keys()) - LEFT_OUT):
        if ours.get(name) != theirs.get(name):
            raise SpecError(
                f"the weights {folder.name!r} are of another architecture: their config.json has {name} "
                f"{theirs.get(name)!r:.60}, and {ours.get(name)!r:.60} is served"
            )


def _check_dtypes(folder: Path) -> None:
    for name, dtype in _dtypes(folder):
        if dtype not in FLOATS:
            raise SpecError(
                f"the weights {folder.name!r} have {name} in {dtype}; save them in one of {', '.join(FLOATS)}"
            )


def _dtypes(folder: Path) -> Iterator[tuple[str, str]]:
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - it is no dictionary
                    yield name, file.get_slice(name).get_dtype()
        except (SafetensorError, OSError) as problem:
            raise SpecError(f"cannot read {path.name} of {folder.name!r}: {first_line(problem)}") from None
