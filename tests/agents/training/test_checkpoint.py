"""Checkpoints: what was written is read, or refused; never something else."""

from pathlib import Path

import numpy as np
import pytest
import torch

from igpo_gym.agents.training.checkpoint import read_checkpoint, write_checkpoint
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


def test_a_turned_byte_or_a_cut_is_found_or_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    write_checkpoint(path, STATE)
    whole = path.read_bytes()
    draw = np.random.default_rng(0)
    refused = 0
    for place in draw.integers(len(whole), size=300):
        turned = bytearray(whole)
        turned[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(turned)
        try:
            assert same(read_checkpoint(path))
        except DataError:
            refused += 1
    assert refused > 100
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="the checkpoint is damaged"):
            read_checkpoint(path)
