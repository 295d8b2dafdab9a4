"""Files and folders that are there whole or not at all, whenever their writer is killed."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from igpo_gym.storage.locks import alone
from igpo_gym.storage.places import resolved


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A new folder to write into, which becomes ``target`` when the block ends well and vanishes otherwise.

    A folder that is already at ``target`` is replaced in one step, so that whoever is killed leaves the old
    one or the new one, and its permissions stay. Writers of one target at the same time all succeed, and the
    last one's folder stays. What killed writers left beside the target is removed first. Where it is a link,
    what that leads to is replaced.
    """
    target = resolved(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _scratch(target) as scratch:
        folder = scratch / "new"
        folder.mkdir()
        with full_disk_named(target):
            yield folder
        keep_permissions(target, folder)
        _replace(target, folder, scratch)


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def full_disk_named(target: Path) -> Iterator[None]:
    """Where the block finds no room on the disk, raise OSError that names ``target``.

    Libraries raise errors of their own about that: safetensors puts the system's number into a text, and
    torch raises RuntimeError after the OSError.
    """
    try:
        yield
    except Exception as problem:
        number = _full(problem)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(target)) from problem


def _full(problem: BaseException | None) -> int | None:
    """The system's number of the error by which an exception, or one before it, says that a disk is full."""
    while problem is not None:
        number = problem.errno if isinstance(problem, OSError) else None
        if told := re.search(r"\(os error (\d+)\)", str(problem)):  # in the words of Rust's libraries
            number = int(told[1])
        if number in _FULL:
            return number
        problem = problem.__cause__ or problem.__context__
    return None


def tidy(target: Path) -> None:
    """Remove what writers of ``target`` that were killed left beside it, after :func:`restore`.

    Those that still write are let be, but on Windows, where nobody else may be writing it now.
    """
    restore(target)
    with alone(target.parent) as locked:
        _remove_dead(target, locks=locked is not None)


def restore(target: Path) -> None:
    """Bring back the folder that a writer of ``target`` had moved aside when it was killed.

    That happens only where the system cannot exchange two folders in one step.
    """
    for scratch in _scratches(target):
        with suppress(FileNotFoundError):  # a writer that lives may end, and its folder go, at any moment
            for old in scratch.glob("old-*"):
                if not target.exists():
                    old.rename(target)


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """A folder beside the target that nobody else touches while the block runs."""
    with ExitStack() as stack:
        with alone(target.parent) as locked:  # so that nobody tidies between the making and the locking
            if locked is not None:
                restore(target)
                _remove_dead(target)
            scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
            stack.callback(shutil.rmtree, scratch, ignore_errors=True)
            stack.enter_context(alone(scratch))
        yield scratch


def _remove_dead(target: Path, locks: bool = True) -> None:
    for scratch in _scratches(target):
        with alone(scratch, wait=False) as locked:
            if locked is not None or not locks:
                shutil.rmtree(scratch, ignore_errors=True)


def _scratches(target: Path) -> list[Path]:
    """The folders of that target's writers: ``mkdtemp`` puts no hyphen into what it makes up."""
    prefix = f".{target.name}-"
    try:
        beside = [path for path in target.parent.iterdir() if path.name.startswith(prefix)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for path in beside if "-" not in path.name[len(prefix) :] and path.is_dir()]


@contextmanager
def written_file(target: Path) -> Iterator[IO[str]]:
    """A new text file, which becomes ``target`` when the block ends well and vanishes otherwise.

    A file that is already there is replaced in one step, and its permissions stay. As with folders
    (:func:`written_whole`), writers of one target at the same time all succeed, and what a link leads to is
    replaced. A device or pipe is written as it is. Raises IsADirectoryError for a folder, and OSError that
    names the target where the disk is full.
    """
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a folder; name a file")
    with full_disk_named(target):
        if target.exists() and not target.is_file():
            with target.open("w", encoding="utf-8", newline="\n") as file:
                yield file
        else:
            with _written_beside(resolved(target)) as file:
                yield file


@contextmanager
def _written_beside(target: Path) -> Iterator[IO[str]]:
    made = not target.parent.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _scratch(target) as scratch:
            new = scratch / "new"
            with new.open("w", encoding="utf-8", newline="\n") as file:
                yield file
            keep_permissions(target, new)
            new.replace(target)
    except BaseException:
        if made:
            with suppress(OSError):  # another may have written into it
                target.parent.rmdir()
        raise


def keep_permissions(target: Path, new: Path) -> None:
    """Give what will take the place of ``target`` the permissions of what is there, if anything is."""
    with suppress(FileNotFoundError):
        shutil.copymode(target, new)


def _replace(target: Path, folder: Path, scratch: Path) -> None:
    """Rename ``folder`` to ``target``, in exchange for whatever is or comes there meanwhile."""
    for attempt in range(1000):
        try:
            folder.rename(target)  # works where nothing is, and a folder is never overwritten
            return
        except OSError as problem:
            if problem.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        with suppress(FileNotFoundError):
            if _exchange(folder, target):
                return
            target.rename(scratch / f"old-{attempt}")
    raise FileExistsError(f"{target} is replaced by others without end")


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders take each other's place in one step; False where the system or its disk cannot.

    Raises FileNotFoundError where one of them is gone.
    """
    if sys.platform not in ("linux", "darwin"):
        return False
    library = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(one), os.fsencode(other)
    if hasattr(library, "renameat2"):
        here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        failed = library.renameat2(here, paths[0], here, paths[1], exchange)
    elif hasattr(library, "renamex_np"):
        failed = library.renamex_np(*paths, 2)  # RENAME_SWAP
    else:
        return False
    if failed and ctypes.get_errno() == errno.ENOENT:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(other))
    return not failed
