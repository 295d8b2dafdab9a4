"""Where derived data is cached, and how files are written so that a crash leaves none half done."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout


def cache_dir() -> Path:
    """The folder for what can be made again: ``$IGPO_GYM_CACHE``, or ``igpo_gym`` in the user's cache."""
    chosen = os.environ.get("IGPO_GYM_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen) if chosen else Path(base) / "igpo_gym"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a folder, which is made if it is missing, to this block alone.

    Raises BlockingIOError where another process has it. What is killed lets go of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BlockingIOError(
            f"another process is at work in {folder}; wait for it or choose another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()


def lock(file: IO[bytes], path: Path) -> None:
    """Keep an open file to this process until it is closed. No locks on Windows.

    Raises BlockingIOError where another process has it, or this one in another place.
    """
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(f"another run is writing to {path}") from None


def changed(
    theirs: Mapping[str, Any], ours: Mapping[str, Any], fingerprints: Mapping[str, Any] | None = None
) -> str:
    """The names of the settings in which what is stored differs from what is wanted, for a message.

    Empty if they agree. ``fingerprints`` are those of ours that are not compared where the stored settings
    lack them.

    >>> changed({"seed": 0, "top_k": 3}, {"seed": 1, "top_k": 3, "hash": "a"}, {"hash": "a"})
    'seed'
    """
    stored = {**(fingerprints or {}), **theirs}
    return ", ".join(name for name in {**ours, **stored} if stored.get(name) != ours.get(name))


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A new folder to write into, which becomes ``target`` when the block ends well and vanishes otherwise.

    A folder that is already at ``target`` is replaced. Writers of one target at the same time all succeed,
    and the last one's folder stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        folder = scratch / "new"
        folder.mkdir()
        yield folder
        _replace(target, folder, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def tidy(target: Path) -> None:
    """Remove what writers of ``target`` that were killed left beside it. Nobody else may be writing it now.

    The folder that was there before comes back, if a writer was killed between moving it aside and its own.
    """
    for scratch in target.parent.glob(f".{target.name}-*"):
        for old in scratch.glob("old-*"):
            if not target.exists():
                old.rename(target)
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def written_file(target: Path) -> Iterator[IO[str]]:
    """A new text file, which becomes ``target`` when the block ends well and vanishes otherwise.

    What a link leads to is replaced, not the link. A device or pipe is written as it is. Raises
    IsADirectoryError for a folder.
    """
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a folder; name a file")
    if target.exists() and not target.is_file():
        with target.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        return
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _replace(target: Path, folder: Path, scratch: Path) -> None:
    """Rename ``folder`` to ``target``, moving aside whatever is or comes there meanwhile."""
    for attempt in range(1000):
        try:
            folder.rename(target)  # works where nothing is, and a folder is never overwritten
            return
        except OSError as problem:
            if problem.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        with suppress(FileNotFoundError):
            target.rename(scratch / f"old-{attempt}")
    raise FileExistsError(f"{target} is replaced by others without end")
