"""A checkpoint as a file: whole when it is there, and known to be whole when it is read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import torch

from igpo_gym.errors import DataError
from igpo_gym.storage import full_disk_named, keep_permissions

_CURE = "put a copy of it back, or train into another folder"
_DIGEST = hashlib.sha256().digest_size


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` with ``torch.save``; the checkpoint before it stays until this one is whole.

    The SHA-256 of all that ``torch.save`` wrote stands behind it, where ``torch.load`` does not look.

    Raises OSError, and leaves nothing of this one, where the disk is full.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        # Through a file of Python's: of a path torch does not say what the system told it.
        with full_disk_named(path), part.open("w+b") as file:
            torch.save(state, file)
            file.write(_digest(file, file.tell()))
        keep_permissions(path, part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state that :func:`write_checkpoint` wrote, with its tensors on the CPU.

    Raises DataError for a damaged file, and for one that holds more than tensors and plain values: no code
    of a file runs. ``torch.load`` itself compares no checksum, and of some damaged archives it returns memory
    that it never wrote.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_checkpoint(Path(folder) / "state.pt", {"updates": 3})
    ...     read_checkpoint(Path(folder) / "state.pt")
    {'updates': 3}
    """
    with path.open("rb") as file:
        size = max(0, os.fstat(file.fileno()).st_size - _DIGEST)
        whole = _digest(file, size) == file.read()
    if not whole:
        raise DataError(path, f"the checkpoint is damaged; {_CURE}")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        problem = (
            "the checkpoint holds what is neither a tensor nor a plain value, so it is not of this package"
        )
        raise DataError(path, f"{problem}; {_CURE}") from None
    return state


def updates_made(path: Path) -> int | None:
    """After how many updates a run's checkpoint was written; None without one. Its tensors are not read.

    Raises DataError for a file that is none.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return int(state["progress"][0])
    except (EOFError, KeyError, RuntimeError, TypeError, UnpicklingError):
        raise DataError(path, f"the checkpoint is damaged; {_CURE}") from None


def _digest(file: IO[bytes], size: int) -> bytes:
    """The SHA-256 of a file's first ``size`` bytes; the file is left behind them."""
    file.seek(0)
    digest = hashlib.sha256()
    left = size
    while left and (block := file.read(min(left, 1 << 20))):
        digest.update(block)
        left -= len(block)
    return digest.digest()
