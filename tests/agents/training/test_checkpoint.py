"""Checkpoints: what was written is read, or refused; never something else."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from igpo_gym.agents.training.checkpoint import read_checkpoint, updates_made, write_checkpoint
from igpo_gym.errors import DataError

STATE = {
    "weights": {"w": torch.arange(300.0), "b": torch.ones(7, dtype=torch.int64)},
    "progress": (3, 41, 0.5),
}


def same(state: dict[str, object]) -> bool:
    weights = state["weights"]
    assert isinstance(weights, dict)
    return state["progress"] == STATE["progress"] and all(
        torch.equal(weights[name], weight) for name, weight in STATE["weights"].items()
    )


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "state.pt", STATE)
    assert same(read_checkpoint(tmp_path / "state.pt"))
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    assert updates_made(tmp_path / "state.pt") == 3
    assert updates_made(tmp_path / "other.pt") is None
    for damaged in (b"", b"no checkpoint", (tmp_path / "state.pt").read_bytes()[:900]):
        (tmp_path / "damaged.pt").write_bytes(damaged)
        with pytest.raises(DataError, match="the checkpoint is damaged"):
            updates_made(tmp_path / "damaged.pt")


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_checkpoint_keeps_the_permissions_of_the_one_before_it(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    path.touch(0o600)
    write_checkpoint(path, {"updates": 1})
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_a_full_disk_is_named_and_the_checkpoint_before_it_stays(tmp_path: Path) -> None:
    """The limit is on a file's size, which a writer meets as it does a disk that is full."""
    path = tmp_path / "state.pt"
    write_checkpoint(path, STATE)
    program = textwrap.dedent(
        """
        import resource, signal, sys
        from pathlib import Path
        import torch
        from igpo_gym.agents.training.checkpoint import write_checkpoint
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        try:
            write_checkpoint(Path(sys.argv[1]), {"weights": torch.zeros(50_000)})
        except OSError as problem:
            print(problem.filename, problem.strerror)
        """
    )
    run = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert run.stdout == f"{path} File too large\n"
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]
    assert same(read_checkpoint(path))


def test_any_turned_bit_and_any_cut_is_found(tmp_path: Path) -> None:
    """Bits of the archive's own records too: of some of those ``torch.load`` makes values of its own."""
    path = tmp_path / "state.pt"
    write_checkpoint(path, STATE)
    whole = path.read_bytes()
    draw = np.random.default_rng(0)
    for place in draw.integers(len(whole), size=300):
        turned = bytearray(whole)
        turned[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(turned)
        with pytest.raises(DataError, match="the checkpoint is damaged"):
            read_checkpoint(path)
    for length in (0, 1, 32, len(whole) // 2, len(whole) - 32, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="the checkpoint is damaged"):
            read_checkpoint(path)


class Opens:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def test_no_code_of_a_checkpoint_runs(tmp_path: Path) -> None:
    made = tmp_path / "made"
    write_checkpoint(tmp_path / "state.pt", {"updates": Opens(made)})
    with pytest.raises(DataError, match="neither a tensor nor a plain value"):
        read_checkpoint(tmp_path / "state.pt")
    assert not made.exists()
    torch.load(tmp_path / "state.pt", weights_only=False)["updates"].close()
    assert made.exists()
