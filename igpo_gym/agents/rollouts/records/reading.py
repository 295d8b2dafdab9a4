"""Lines of recorded episodes, read; what is wrong with one is told with its number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

from igpo_gym.agents.rollouts.records.layout import FORMAT, from_record
from igpo_gym.data.files import lines, parse_json
from igpo_gym.episode import Episode
from igpo_gym.errors import DataError
from igpo_gym.rewards import Split
from igpo_gym.text import without_credentials

MALFORMED = (
    ArithmeticError,
    AttributeError,
    IndexError,
    KeyError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What values of a wrong shape raise where they are taken apart."""


def read_rollouts(path: str | Path) -> Iterator[Episode]:
    """The episodes of a file, in order. Raises DataError with the line that is not an episode."""
    return (episode for _, episode in read_recordings(path))


def read_recordings(path: str | Path, skip: int = 0) -> Iterator[tuple[dict[str, Any], Episode]]:
    """The episodes of a file, in order, each with the settings that its line holds; empty if it holds none.

    The first ``skip`` lines are left out. Raises DataError with the line that is not an episode, and for a
    pipe: commands read a file more than once.
    """
    path = Path(path)
    for number, line in islice(lines(path), skip, None):
        with refused(path, number):
            record = _known(line)
            recording = settings_of(record), from_record(record)
        yield recording


def read_settings(path: Path) -> dict[str, Any]:
    """What the first line of a file says that its episodes were made with; empty if it says nothing.

    Raises DataError for a file that does not begin with a recorded episode, and for a pipe.
    """
    for settings in all_settings(path):
        return settings
    raise DataError(path, "not a recorded episode (the file is empty)", 1)


def all_settings(path: Path) -> Iterator[dict[str, Any]]:
    """The settings that each line of a file holds, in order. Raises DataError with the line that is none."""
    for number, line in lines(path):
        with refused(path, number):
            settings = settings_of(_known(line))
        yield settings


def doubled(path: str | Path, start: int = 0, count: int | None = None) -> int:
    """How many lines of a file, or of ``count`` from number ``start`` on, are an episode that stands earlier.

    They are equal to the last character: another attempt, or the same in another step of a trainer, is
    another episode. What ``igpo-gym relabel`` wrote about episodes is none. Raises DataError as reading does.
    """
    stop = None if count is None else start + count
    found = [
        blake2b(line.rstrip(b"\r\n"), digest_size=16).digest()
        for _, line in islice(lines(Path(path)), start, stop)
        if b'"format"' in line
    ]
    return len(found) - len(set(found))


@contextmanager
def refused(path: Path, number: int) -> Iterator[None]:
    """What is wrong with a line is a DataError."""
    try:
        yield
    except MALFORMED as problem:
        raise DataError(path, f"not a recorded episode ({what_is_wrong(problem)})", number) from problem


def settings_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says that its episode was made with, without the credentials of URLs.

    This package writes none; another program may have, and what is read here is shown and copied.
    """
    return without_credentials(dict(record.get("settings", {})))


def set_of(settings: Mapping[str, Any]) -> str:
    """The name of the set of questions that an episode was played on, empty where its record tells none."""
    return str(settings.get("questions", ""))


def recorded_split(episode: Episode) -> Split | None:
    """The split that the record of an episode tells; None where it tells none.

    Raises ValueError for one that cannot be read, or is of another number of turns.
    """
    record = episode.extra.get("split")
    if record is None:
        return None
    try:
        gains = tuple(None if gain is None else float(gain) for gain in record["gains"])
        outcome = None if record["outcome"] is None else float(record["outcome"])
        told = Split(gains, outcome, bool(record["last_gain"]))
        if not all(math.isfinite(each) for each in (*gains, outcome) if each is not None):
            raise ValueError("a number that is not finite")
    except MALFORMED as problem:
        raise ValueError(f"its split cannot be read ({what_is_wrong(problem)})") from problem
    if told.turns != len(episode.turns):
        raise ValueError(
            f"its split cannot be read ({told.turns} turns, in an episode of {len(episode.turns)})"
        )
    return told


def parsed(line: bytes) -> Any:
    """The JSON value of a line. ValueError, with what to do, for one that is damaged or was cut short."""
    try:
        return parse_json(line.decode())
    except ValueError as problem:
        if not line.endswith(b"\n"):
            raise ValueError("cut short: start what wrote it again, or remove the line") from None
        raise ValueError(f"{what_is_wrong(problem)}; remove the line") from None


def what_is_wrong(problem: Exception) -> str:
    """What is wrong with a line, without what stands in it: that may be a gold answer."""
    if isinstance(problem, UnicodeDecodeError):
        return f"not UTF-8: {problem.reason}"
    return f"no field {problem}" if isinstance(problem, KeyError) else str(problem)


def _known(line: bytes) -> dict[str, Any]:
    """The record of a line, of a known format. Raises ValueError for a line that holds none."""
    record = parsed(line)
    if not isinstance(record, dict) or "format" not in record:
        raise ValueError(
            "it names no format, as every line does that igpo-gym rollout or igpo-gym import writes; import "
            "reads transcripts of other programs"
        )
    if record["format"] not in (1, FORMAT):
        raise ValueError(f"format {record['format']}; this version reads formats 1 and {FORMAT}")
    return record
