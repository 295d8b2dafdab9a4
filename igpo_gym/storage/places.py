"""Where things are kept, and whether something can be written there."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

PACKED = {".gz": "gzip", ".zst": "zstandard", ".bz2": "bzip2", ".xz": "xz"}
"""How a file is packed that is unpacked as it is read, by what its name ends in, in small letters."""


def cache_dir() -> Path:
    """The folder for what can be made again: ``$IGPO_GYM_CACHE``, or ``igpo_gym`` in the user's cache."""
    chosen = os.environ.get("IGPO_GYM_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen) if chosen else Path(base) / "igpo_gym"


def check_writable(target: Path, *others: Path, folder: bool = False) -> None:
    """Raise OSError, with the place, where ``target`` could not be written. Nothing is made.

    Raises ValueError where it is one of ``others``, what the caller also reads or writes, a folder that holds
    one, or something that stands in one, for they would be replaced, where it is what this process prints to
    (``/dev/stdout``), and as :func:`check_plain` does.

    Called before work whose result is written at its end. ``target`` is a file, or with ``folder`` a folder;
    neither has to be there.

    >>> check_writable(Path(__file__) / "report.html")
    Traceback (most recent call last):
    NotADirectoryError: [Errno 20] Not a directory: '.../places.py/report.html'
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
