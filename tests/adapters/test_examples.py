"""The examples run as their first lines say, on fewer steps."""

from __future__ import annotations

import runpy
import sys

import pytest

from tests.conftest import REPOSITORY

EXAMPLES = {
    "sb3_ppo.py": ("sb3_contrib", ["--steps", "1024", "--test-steps", "4"], "after:"),
    "cleanrl_ppo.py": ("torch", ["--updates", "1"], "update  1: exact match"),
    "torchrl_ppo.py": ("torchrl", ["--batches", "1"], "batch  1: reward"),
    "tinker_search.py": ("tinker_cookbook", [], "3 datums"),
    "rllib_ppo.py": ("ray.rllib", ["--iterations", "1", "--batch", "256"], "iteration  1: return"),
}
"""By file: the library that it needs, arguments that make it short, and what it prints."""


@pytest.mark.slow
@pytest.mark.parametrize("file", EXAMPLES)
def test_an_example_runs(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    library, arguments, printed = EXAMPLES[file]
    pytest.importorskip(library, reason=f"needs {library}")
    monkeypatch.setattr(sys, "argv", [file, *arguments])
    runpy.run_path(str(REPOSITORY / "examples" / file), run_name="__main__")
    assert printed in capsys.readouterr().out
