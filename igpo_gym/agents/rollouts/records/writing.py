"""Recorded episodes as lines of a file, which may grow for long and be gone on with."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from operator import index
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from igpo_gym.agents.rollouts.records.layout import FORMAT, to_record
from igpo_gym.agents.rollouts.records.reading import parsed, refused
from igpo_gym.episode import Episode
from igpo_gym.errors import DataError
from igpo_gym.rewards import RewardFunction
from igpo_gym.storage import changed, check_plain, full_disk_named, lock, written_file
from igpo_gym.text import well_formed, without_credentials

_BEGINNING = b'{"settings": '
"""How every line that a RolloutFile writes begins."""


def write_episodes(
    path: Path, episodes: Iterable[Episode], settings: Mapping[str, Any], reward: RewardFunction | None = None
) -> None:
    """Write ended episodes to a file, in place of one that is there; texts of protected questions as hashes.

    ``settings`` are what they were made with; credentials in URLs are left out. ``reward`` is what they were
    paid.
    """
    told = without_credentials(dict(settings))
    with written_file(path) as file:
        file.writelines(record_line(told, episode, reward) for episode in episodes)


def record_line(
    settings: Mapping[str, Any],
    episode: Episode,
    reward: RewardFunction | None = None,
    *,
    clear_text: bool = False,
) -> str:
    """The line of a recording that holds an ended episode; the arguments are those of :func:`to_record`."""
    return json_line({"settings": settings, **to_record(episode, reward, clear_text=clear_text)})


def json_line(record: Mapping[str, Any]) -> str:
    """A record as a line of JSON; numbers of other libraries are written as Python's, and what is no text in
    UTF-8 is replaced.

    >>> from fractions import Fraction
    >>> json_line({"f1": Fraction(1, 2), "text": "Gdańsk"})
    '{"f1": 0.5, "text": "Gdańsk"}\\n'
    """
    # Retrievers and reward terms may give numbers that are not Python's own.
    return well_formed(json.dumps(record, ensure_ascii=False, default=_number)) + "\n"


def _number(value: Any) -> int | float:
    """A whole number stays one: a token's id that was written as ``5.0`` could not be read again."""
    try:
        return index(value)
    except TypeError:
        return float(value)


class RolloutFile:
    """A file that grows by one episode a line; what was written survives a crash.

    Opened again with the same settings it goes on where it stopped: a line that a crash cut short is
    removed, and ``done`` holds the question's id and the attempt's number of each episode that is there.
    ``reward`` is what they were paid; ``clear_text`` as in :func:`to_record`. A file may hold several sets of
    questions: lines whose setting ``questions`` is one of ``others`` are left as they are. Raises
    BlockingIOError when another run is writing to it, and DataError when it was made with other settings,
    since its episodes could not be compared; of those that are named in ``fingerprints``, a line may lack
    some. ValueError for a name that says it is packed.
    """

    def __init__(
        self,
        path: Path,
        settings: dict[str, Any],
        fingerprints: Iterable[str] = (),
        reward: RewardFunction | None = None,
        others: Collection[str] = (),
        *,
        clear_text: bool = False,
    ) -> None:
        check_plain(path)
        self.path = path
        self.settings = settings
        self.reward = reward
        self._others = frozenset(others)
        self.clear_text = clear_text
        self._fingerprints = {name: settings[name] for name in fingerprints}
        self.done: set[tuple[str, int]] = set()
        path.parent.mkdir(parents=True, exist_ok=True)
        device = path.exists() and not path.is_file()  # or a pipe: nothing can be read back
        self._file = path.open("ab" if device else "a+b")
        try:
            lock(self._file, path)
            if not device:
                self._resume()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> RolloutFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with full_disk_named(self.path):  # what the disk did not take is written again on closing
            self._file.close()

    def write(self, episode: Episode) -> None:
        """Append an episode, and do not return before it is with the operating system."""
        line = record_line(self.settings, episode, self.reward, clear_text=self.clear_text)
        with full_disk_named(self.path):
            self._file.write(line.encode())
            self._file.flush()
        self.done.add((episode.question.id, episode.attempt))

    def _resume(self) -> None:
        self._file.seek(0)
        end = 0
        for length, attempt in _whole(self._file, self.path, self.settings, self._fingerprints, self._others):
            end += length
            if attempt is not None:
                self.done.add(attempt)
        self._file.truncate(end)
        self._file.seek(0, os.SEEK_END)


def recorded(
    path: Path,
    settings: Mapping[str, Any],
    fingerprints: Iterable[str] = (),
    others: Collection[str] = (),
) -> set[tuple[str, int]]:
    """What :class:`RolloutFile` would find ``done`` in a file, which need not exist; nothing is written.

    Raises DataError as it does.
    """
    if not path.is_file():
        return set()
    named = {name: settings[name] for name in fingerprints}
    with path.open("rb") as file:
        lines = _whole(file, path, settings, named, frozenset(others))
        return {attempt for _, attempt in lines if attempt is not None}


def _whole(
    file: BinaryIO,
    path: Path,
    ours: Mapping[str, Any],
    fingerprints: Mapping[str, Any],
    others: Collection[str],
) -> Iterator[tuple[int, tuple[str, int] | None]]:
    """The length of each whole line of a file, and its episode; None for one of other questions."""
    for number, line in enumerate(file, 1):
        if not line.endswith(b"\n") and line[: len(_BEGINNING)] == _BEGINNING[: len(line)]:
            return  # cut short by a crash; anything else without an end is not ours to remove
        with refused(path, number):
            record = parsed(line)
            settings = dict(record["settings"])
            attempt = record["question"]["id"], record.get("attempt", 0)
            if record["format"] != FORMAT:
                raise ValueError(f"format {record['format']}; a file is continued in format {FORMAT}")
        if settings.get("questions") in others:
            yield len(line), None
            continue
        if names := changed(settings, ours, fingerprints):
            raise DataError(path, f"made with other settings ({names}); choose another file", number)
        yield len(line), attempt
