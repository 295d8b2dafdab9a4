"""A file of answers by key: SQLite, for several processes at once, which a crash leaves whole."""

from __future__ import annotations

import os
import sqlite3
import threading
import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from igpo_gym.errors import DataError

NOTHING = b"[]"
"""A value that says that nothing was found."""

NAME = "search.sqlite"
"""What the file is called in its folder."""
FORMAT = 1
"""The version of the tables and of the values in them."""
BUSY_SECONDS = 10.0
"""How long another process's write is waited for."""

_APPLICATION = 0x6967706F  # "igpo", by which SQLite's header tells whose file it is
_AT_ONCE = 500
"""How many keys a statement asks for; older libraries allow 999 variables."""
_TABLES = """
CREATE TABLE answers (key BLOB PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE backends (asked TEXT PRIMARY KEY, identity TEXT NOT NULL, documents INTEGER NOT NULL);
"""

_inherited: list[sqlite3.Connection] = []
"""Connections of a parent process, which must be neither used nor closed after a fork."""


class Backend(NamedTuple):
    """What answers are of."""

    identity: str
    """The name that is part of their keys."""
    documents: bool
    """Whether it gives documents."""


class AnswerFile:
    """Values by key, and which backends they are of. Safe for threads, for processes, and across forks.

    Raises DataError for a folder that is none, for a file that is no such cache or damaged, and where it is
    only to be read and not there.

    >>> import tempfile
    >>> file = AnswerFile(tempfile.mkdtemp())
    >>> file.keep({b"key": b"value"}), file.keep({b"key": b"other"}), file.read([b"key", b"none"])
    ({b'key': b'value'}, {b'key': b'value'}, {b'key': b'value'})
    """

    def __init__(self, folder: str | Path, *, read_only: bool = False) -> None:
        self.path = Path(folder).absolute() / NAME
        self.read_only = read_only
        self.writes = not read_only
        """Whether it still writes: the first write that fails is the last."""
        self._lock = threading.RLock()
        self._process = 0
        self._connection: sqlite3.Connection | None = None
        with self._reading():
            pass

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(AnswerFile, read_only=self.read_only), (self.path.parent,)

    def read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that are there."""
        found: dict[bytes, bytes] = {}
        with self._reading() as connection:
            for start in range(0, len(keys), _AT_ONCE):
                found |= _values(connection, keys[start : start + _AT_ONCE])
        return found

    def keep(self, values: Mapping[bytes, bytes], renewed: bool = False) -> dict[bytes, bytes]:
        """Write values, and return what is there now: where another process came first, its value.

        Where they are ``renewed``, they take the place of ``NOTHING``.

        A write that fails, because the disk is full or the file locked, is one warning; nothing is written
        from then on, and the values come back as they are.
        """
        with self._lock:
            if not self.writes:
                return dict(values)
            try:
                with self._reading() as connection:
                    return self._kept(connection, values, renewed)
            except DataError as problem:
                self._give_up(problem)
                return dict(values)

    def _give_up(self, problem: DataError) -> None:
        self.writes = False
        warnings.warn(f"searches are not cached any more: {problem}", RuntimeWarning, stacklevel=3)

    def _kept(
        self, connection: sqlite3.Connection, values: Mapping[bytes, bytes], renewed: bool
    ) -> dict[bytes, bytes]:
        keys, found = list(values), dict[bytes, bytes]()
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(
                "INSERT INTO answers VALUES (?, ?) "
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE ? AND answers.value = ?",
                ((key, value, renewed, NOTHING) for key, value in values.items()),
            )
            for start in range(0, len(keys), _AT_ONCE):
                found |= _values(connection, keys[start : start + _AT_ONCE])
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return found

    def name(self, asked: str, backend: Backend) -> None:
        """Note a backend under what it was asked for as; fails as :meth:`keep` does."""
        if self.backends().get(asked) == backend:
            return
        try:
            with self._reading() as connection:
                connection.execute("INSERT OR REPLACE INTO backends VALUES (?, ?, ?)", (asked, *backend))
        except DataError as problem:
            self._give_up(problem)

    def backends(self) -> dict[str, Backend]:
        """The backends, by what each was asked for as."""
        with self._reading() as connection:
            rows = connection.execute("SELECT asked, identity, documents FROM backends").fetchall()
        return {asked: Backend(identity, bool(documents)) for asked, identity, documents in rows}

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone. What SQLite raises is a DataError that names the file."""
        with self._lock:
            try:
                if self._connection is None or self._process != os.getpid():
                    if self._connection is not None:
                        _inherited.append(self._connection)
                    self._connection, self._process = self._open(), os.getpid()
                    weakref.finalize(self, _close, self._connection, self._process)
                yield self._connection
            except sqlite3.Error as problem:
                # What is operational (a full disk, a lock) passes; anything else is wrong with the file.
                passing = isinstance(problem, sqlite3.OperationalError)
                advice = "" if passing else "; remove it, or name another folder"
                raise DataError(self.path, f"the search cache cannot be used: {problem}{advice}") from None

    def _open(self) -> sqlite3.Connection:
        folder = self.path.parent
        if self.read_only:
            if not self.path.is_file():
                raise DataError(folder, f"there is no search cache here; search_cache={folder} makes one")
            # Where nothing can be written, SQLite has no place for what the readers of a log share.
            fixed = "" if os.access(folder, os.W_OK) else "&immutable=1"
            return self._connected(f"mode=ro{fixed}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise DataError(folder, "this is a file; search_cache names a folder") from None
        try:
            # One process at a time makes the tables and turns the log on, for which SQLite does not wait.
            with FileLock(self.path.with_suffix(".lock"), timeout=BUSY_SECONDS):
                return self._connected("mode=rwc")
        except Timeout:
            raise DataError(self.path, "another process keeps the search cache locked") from None

    def _connected(self, mode: str) -> sqlite3.Connection:
        # The lock of this object serves threads, and transactions are begun by hand.
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?{mode}",
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            uri=True,
        )
        try:
            self._check(connection)
            if not self.read_only:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        """Make the tables in an empty file. Raises DataError for a file that is no cache of this version."""
        ((application,),) = connection.execute("PRAGMA application_id")
        ((version,),) = connection.execute("PRAGMA user_version")
        if application == _APPLICATION:
            if version != FORMAT:
                raise DataError(
                    self.path,
                    f"the search cache has format {version}, and {FORMAT} is read here: name another folder",
                )
        elif application or version or connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise DataError(self.path, "this is the database of another program: name another folder")
        elif self.read_only:
            raise DataError(self.path, "the search cache is empty")
        else:
            marks = f"PRAGMA application_id={_APPLICATION}; PRAGMA user_version={FORMAT};"
            connection.executescript(f"BEGIN; {_TABLES} {marks} COMMIT;")


def _values(connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    marks = ",".join("?" * len(keys))
    return dict(connection.execute(f"SELECT key, value FROM answers WHERE key IN ({marks})", keys).fetchall())


def _close(connection: sqlite3.Connection, process: int) -> None:
    if process == os.getpid():
        connection.close()
