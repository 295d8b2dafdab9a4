"""A checkpoint as a file: whole when it is there, and known to be whole when it is read."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch

from igpo_gym.errors import DataError
from igpo_gym.storage import full_disk_named

_CURE = "put a copy of it back, or train into another folder"


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` with ``torch.save``; the checkpoint before it stays until this one is whole.

    Raises OSError, and leaves nothing of this one, where the disk is full.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        # Through a file of Python's: of a path torch does not say what the system told it.
        with full_disk_named(path), part.open("wb") as file:
            torch.save(state, file)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The state that :func:`write_checkpoint` wrote, with its tensors on ``device``.

    Raises DataError for a damaged file. ``torch.load`` does not compare the checksums that ``torch.save``
    writes: it takes turned bytes of a tensor for its values.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_checkpoint(Path(folder) / "state.pt", {"updates": 3})
    ...     read_checkpoint(Path(folder) / "state.pt")
    {'updates': 3}
    """
    try:
        with ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is None:
            state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
            return state
    except torch.OutOfMemoryError:
        raise
    except Exception as problem:  # zipfile and torch raise half a dozen classes over damage
        # A place that lies before the file's beginning is an OSError too.
        if isinstance(problem, OSError) and problem.errno != errno.EINVAL:
            raise
        raise DataError(path, f"the checkpoint is damaged; {_CURE}") from problem
    raise DataError(path, f"the checkpoint is damaged in {damaged}; {_CURE}")
