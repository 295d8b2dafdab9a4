"""Files and folders that one process keeps to itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from filelock import FileLock, Timeout

F = TypeVar("F", bound=IO[Any])


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a folder, which is made if it is missing, to this block alone.

    Raises BlockingIOError where another process has it. What is killed lets go of it. A folder that was made
    here and in which nothing was written is removed again.
    """
    made = not folder.exists()
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
        if made and [path.name for path in folder.iterdir()] == [".lock"]:
            (folder / ".lock").unlink()
            folder.rmdir()


def lock(file: IO[Any], path: Path) -> None:
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


@contextmanager
def alone(folder: Path, *, wait: bool = True) -> Iterator[int | None]:
    """Lock a folder, which leaves no trace in it; None where another has it or the system cannot."""
    descriptor = None
    if sys.platform != "win32":
        import fcntl

        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except OSError:
                os.close(descriptor)
                descriptor = None
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def let_go(file: IO[Any]) -> None:
    """Close a file where an open one can be neither renamed nor removed; elsewhere its lock is kept."""
    if sys.platform == "win32":
        file.close()


def owned(opened: Callable[[], F], place: Path, target: Path) -> F:
    """The file at a place, which becomes ``target`` once it is whole, as this writer's alone.

    Raises BlockingIOError where it is another's.
    """
    while True:
        file = opened()
        try:
            lock(file, target)
            # Whoever had it may have renamed it between the opening and the locking.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), place.stat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()
