"""Where derived data is cached, and how files are written so that a crash leaves none half done."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_dir() -> Path:
    """The folder for what can be made again: ``$IGPO_GYM_CACHE``, or ``igpo_gym`` in the user's cache."""
    chosen = os.environ.get("IGPO_GYM_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen) if chosen else Path(base) / "igpo_gym"


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A new folder to write into, which becomes ``target`` when the block ends well and vanishes otherwise.

    A folder that is already at ``target`` is replaced. When two processes write the same target at the same
    time, one of them wins and both succeed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        folder = scratch / "new"
        folder.mkdir()
        yield folder
        old = scratch / "old"
        if target.exists():
            target.rename(old)
        try:
            folder.rename(target)
        except OSError:
            if not target.exists():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
