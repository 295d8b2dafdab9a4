"""Where derived data is cached, and how files are written so that a crash leaves none half done."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from filelock import FileLock, Timeout

F = TypeVar("F", bound=IO[Any])

PACKED = {".gz": "gzip", ".zst": "zstandard", ".bz2": "bzip2", ".xz": "xz"}
"""How a file is packed that is unpacked as it is read, by what its name ends in, in small letters."""


def cache_dir() -> Path:
    """The folder for what can be made again: ``$IGPO_GYM_CACHE``, or ``igpo_gym`` in the user's cache."""
    chosen = os.environ.get("IGPO_GYM_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen) if chosen else Path(base) / "igpo_gym"


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


def changed(
    theirs: Mapping[str, Any], ours: Mapping[str, Any], fingerprints: Mapping[str, Any] | None = None
) -> str:
    """The names of the settings in which what is stored differs from what is wanted, for a message.

    Empty if they agree. ``fingerprints`` are those of ours that are not compared where the stored settings
    lack them, or hold an empty one: nobody knew then.

    >>> changed({"seed": 0, "top_k": 3}, {"seed": 1, "top_k": 3, "hash": "a"}, {"hash": "a"})
    'seed'
    """
    told = {name: value for name, value in theirs.items() if value != "" or name not in (fingerprints or {})}
    stored = {**(fingerprints or {}), **told}
    return ", ".join(name for name in {**ours, **stored} if stored.get(name) != ours.get(name))


def complete_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers, but for a last one that a crash cut short.

    None of a file that is not there.
    """
    if path.exists():
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    yield number, line


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Add a line of JSON to a file, in the place of one that a crash cut short."""
    with path.open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(json.dumps(record).encode() + b"\n")


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
    with _alone(target.parent) as locked:
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
        with _alone(target.parent) as locked:  # so that nobody tidies between the making and the locking
            if locked is not None:
                restore(target)
                _remove_dead(target)
            scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
            stack.callback(shutil.rmtree, scratch, ignore_errors=True)
            stack.enter_context(_alone(scratch))
        yield scratch


def _remove_dead(target: Path, locks: bool = True) -> None:
    for scratch in _scratches(target):
        with _alone(scratch, wait=False) as locked:
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
def _alone(folder: Path, *, wait: bool = True) -> Iterator[int | None]:
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


def check_writable(target: Path, *others: Path, folder: bool = False) -> None:
    """Raise OSError, with the place, where ``target`` could not be written. Nothing is made.

    Raises ValueError where it is one of ``others``, what the caller also reads or writes, a folder that holds
    one, or something that stands in one, for they would be replaced, where it is what this process prints to
    (``/dev/stdout``), and as :func:`check_plain` does.

    Called before work whose result is written at its end. ``target`` is a file, or with ``folder`` a folder;
    neither has to be there.

    >>> check_writable(Path(__file__) / "report.html")
    Traceback (most recent call last):
    NotADirectoryError: [Errno 20] Not a directory: '.../storage.py/report.html'
    """
    if _is_printed_to(target):
        raise ValueError(f"{target} is what this command prints to: name a file")
    resolved(target)
    if not folder:
        check_plain(target)
    if target.exists() and not (target.is_file() or target.is_dir()):
        return  # a device or a pipe, beside which nothing is written
    for other in others:
        if _lies_in(target, other):
            named = "name another folder" if folder else "name another file"
            raise ValueError(
                f"{other} is read or written as well, and {target} would replace what is there: {named}"
            )
    if target.exists() and (folder or target.is_dir()):
        if not folder:
            raise IsADirectoryError(errno.EISDIR, "is a folder; name a file", str(target))
        if not target.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "is a file; name a folder", str(target))
        nearest = target
    else:
        nearest = next(place for place in target.absolute().parents if place.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            if target.is_file():
                target.open("ab").close()
    except OSError as problem:
        raise OSError(problem.errno, os.strerror(problem.errno or 0), str(target)) from None


def resolved(path: Path) -> Path:
    """Where links lead. Raises OSError, as opening it does, for one that leads back to itself."""
    try:
        place = path.resolve()
    except RuntimeError:  # before Python 3.13
        place = path
    if place.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return place


def check_plain(target: Path) -> None:
    """Raise ValueError for the name of a packed file: it would be read as one, and nothing is packed here."""
    if target.suffix.lower() in PACKED:
        raise ValueError(f"{target}: what is written is not packed; leave {target.suffix} out of the name")


def check_all_writable(targets: Sequence[Path], *others: Path) -> None:
    """:func:`check_writable` of several files, none of which may be another."""
    for place, target in enumerate(targets):
        check_writable(target, *targets[:place], *others)


def check_new(folder: Path) -> None:
    """Raise FileExistsError for a place where something is, but for an empty folder."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already; name another folder")


def _is_printed_to(target: Path) -> bool:
    """Whether it is the file or pipe that this process prints to; what a terminal shows is not kept."""
    try:
        printed, theirs = os.fstat(1), target.stat()
    except OSError:
        return False
    return not stat.S_ISCHR(theirs.st_mode) and os.path.samestat(printed, theirs)


def _lies_in(target: Path, other: Path) -> bool:
    """Whether whoever replaces ``target`` loses ``other``, or a part of it."""
    ours, theirs = resolved(target), resolved(other)
    if ours in (theirs, *theirs.parents):
        return True
    return target.exists() and other.exists() and (theirs in ours.parents or target.samefile(other))


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
