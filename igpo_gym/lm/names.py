"""What a language model may be called, checked before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path

import igpo_gym.specs as specs
from igpo_gym.errors import SpecError, near
from igpo_gym.hub import HUB_NAME
from igpo_gym.text import without_credentials

PACKAGED = ("nano", "nano-base")
"""The language models that ship with the package."""

SMOLLM2 = "smollm2"
"""The small real model that is fetched once its user has agreed (:mod:`igpo_gym.lm.smollm2`)."""

NAMED = (*PACKAGED, SMOLLM2)
"""The models that a word of this package names. Nobody trains them in place."""

MODEL_FORMS = (
    f"{', '.join(PACKAGED)} or {SMOLLM2}, a model's name on the Hugging Face hub, a local folder with "
    "safetensors, or a .gguf file"
)


def packaged_folder(name: str) -> Path:
    """Where the files of a packaged model are.

    >>> packaged_folder("nano").name
    'nano'
    """
    return Path(__file__).parents[1] / "models" / name


def files_of(name: str, place: str = "") -> list[Path]:
    """The folder of a named model whose files may be others in another version of the package.

    ``place`` is what stands behind a colon, which none of them has.

    >>> [folder.name for folder in files_of("nano")], files_of("smollm2")
    (['nano'], [])
    """
    return [packaged_folder(name)] if name in PACKAGED else []


def check_name(spec: str) -> None:
    """Raise SpecError for what can be no model: a file or folder that is not there, or a name mistyped.

    >>> check_name("nanoo")
    Traceback (most recent call last):
    igpo_gym.errors.SpecError: there is no model 'nanoo'; did you mean nano? Give nano, nano-base or smollm2,
    a model's name on the Hugging Face hub, a local folder with safetensors, or a .gguf file
    """
    if spec in NAMED or Path(spec).exists():
        return
    if spec.lower().startswith(("http://", "https://")):
        raise SpecError(
            f"{without_credentials(spec)!r} is a server, and what is needed is a model on this machine: "
            f"{MODEL_FORMS}. igpo-gym check server URL looks at a server"
        )
    if spec.endswith(".gguf"):
        raise SpecError(f"there is no file {spec!r}; give {MODEL_FORMS}")
    if alike := near(spec, NAMED, specs.NEAR):
        raise SpecError(f"there is no model {spec!r}; did you mean {alike[0]}? Give {MODEL_FORMS}")
    if not HUB_NAME.fullmatch(spec):
        shown = without_credentials(spec)
        raise SpecError(f"cannot load the model {shown!r} (there is no such folder); give {MODEL_FORMS}")
