"""Episodes as lines of JSON: written as they end, read back as they were."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from igpo_gym.data.metrics import exact_match, f1
from igpo_gym.episode import (
    Action,
    Answer,
    Belief,
    BeliefView,
    Episode,
    Invalid,
    Passage,
    Question,
    Search,
    Segment,
    Turn,
)
from igpo_gym.errors import DataError
from igpo_gym.text import well_formed

FORMAT = 1

_BEGINNING = b'{"settings": '
"""How every line that a RolloutFile writes begins."""

_MALFORMED = (AttributeError, KeyError, TypeError, ValueError)
"""What values of a wrong shape raise where they are taken apart."""

_ACTIONS: dict[str, type[Search] | type[Answer] | type[Invalid]] = {
    action.kind: action for action in (Search, Answer, Invalid)
}


def to_record(episode: Episode) -> dict[str, Any]:
    """An ended episode as JSON values, with its scores for whoever reads the file without this package."""
    return {
        "format": FORMAT,
        "question": dataclasses.asdict(episode.question),
        "attempt": episode.attempt,
        "prediction": episode.prediction,
        "em": exact_match(episode.prediction, episode.question.answers),
        "f1": f1(episode.prediction, episode.question.answers),
        "truncated": episode.truncated,
        "prompt_length": episode.prompt_length,
        "beliefs": [belief.log_probs for belief in episode.beliefs],
        "views": [
            {**dataclasses.asdict(view), "beliefs": [beliefs[view].log_probs for beliefs in episode.views]}
            for view in (episode.views[0] if episode.views else ())
        ],
        "values": episode.values,
        "rewards": episode.rewards,
        "turns": [
            {
                **dataclasses.asdict(turn),
                "action": {"kind": turn.action.kind, **dataclasses.asdict(turn.action)},
            }
            for turn in episode.turns
        ],
        "segments": [dataclasses.asdict(segment) for segment in episode.segments],
    }


def from_record(record: dict[str, Any]) -> Episode:
    """The episode that :func:`to_record` wrote.

    AttributeError, KeyError, TypeError or ValueError for anything else, such as an episode without turns.
    """
    if not record["turns"]:
        raise ValueError("an episode without turns")
    question = record["question"]
    return Episode(
        question=Question(
            **{**question, "answers": tuple(question["answers"]), "evidence": tuple(question["evidence"])}
        ),
        segments=[_segment(segment) for segment in record["segments"]],
        prompt_length=record["prompt_length"],
        turns=[_turn(turn) for turn in record["turns"]],
        beliefs=[Belief(tuple(log_probs)) for log_probs in record["beliefs"]],
        views=_views(record.get("views", [])),
        values=[
            {int(completions): value for completions, value in values.items()}
            for values in record.get("values", [])
        ],
        rewards=record["rewards"],
        truncated=record["truncated"],
        attempt=record.get("attempt", 0),
    )


def _views(records: list[dict[str, Any]]) -> list[dict[BeliefView, Belief]]:
    """For each state the beliefs by all views, from all states' beliefs by each."""
    tracks = {
        BeliefView(**{name: value for name, value in record.items() if name != "beliefs"}): record["beliefs"]
        for record in records
    }
    states = zip(*tracks.values(), strict=True)
    return [
        {view: Belief(tuple(log_probs)) for view, log_probs in zip(tracks, state, strict=True)}
        for state in states
    ]


def _segment(record: dict[str, Any]) -> Segment:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in record.items()
    }
    return Segment(**fields)


def _turn(turn: dict[str, Any]) -> Turn:
    results = tuple(tuple(Passage(**passage) for passage in result) for result in turn["results"])
    return Turn(**{**turn, "action": _action(turn["action"]), "results": results})


def _action(record: dict[str, Any]) -> Action:
    fields = {name: value for name, value in record.items() if name != "kind"}
    if "queries" in fields:
        fields["queries"] = tuple(fields["queries"])
    return _ACTIONS[record["kind"]](**fields)


def read_rollouts(path: str | Path) -> Iterator[Episode]:
    """The episodes of a file, in order. Raises DataError with the line that is not an episode."""
    with Path(path).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                _check_format(record)
                episode = from_record(record)
            except _MALFORMED as problem:
                raise DataError(path, f"not a recorded episode ({problem!r})", number) from problem
            yield episode


def read_settings(path: Path) -> dict[str, Any]:
    """What the first line of a file says that its episodes were made with; empty if it says nothing.

    Raises DataError for a file that does not begin with a recorded episode.
    """
    with path.open("rb") as lines:
        try:
            record = json.loads(next(lines, b"null"))
            _check_format(record)
            return dict(record.get("settings", {}))
        except _MALFORMED as problem:
            raise DataError(path, f"not a recorded episode ({problem!r})", 1) from problem


def _check_format(record: Any) -> None:
    if not isinstance(record, dict) or "format" not in record:
        raise ValueError("it names no format, as every line does that igpo-gym rollout writes")
    if record["format"] != FORMAT:
        raise ValueError(f"format {record['format']}; this version reads format {FORMAT}")


def _lock(file: IO[bytes], path: Path) -> None:
    """Keep a second run from writing the same file; the lock goes with the file. No locks on Windows."""
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError(path, "another run is writing to it") from None


class RolloutFile:
    """A file that grows by one episode a line; what was written survives a crash.

    Opened again with the same settings it goes on where it stopped: a line that a crash cut short is removed,
    and ``done`` holds the question's id and the attempt's number of each episode that is there. Raises
    DataError when the file was made with other settings, since its episodes could not be compared; of those
    that are named in ``fingerprints``, a line may lack some.
    """

    def __init__(self, path: Path, settings: dict[str, Any], fingerprints: Iterable[str] = ()) -> None:
        self.path = path
        self.settings = settings
        self._fingerprints = {name: settings[name] for name in fingerprints}
        self.done: set[tuple[str, int]] = set()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        try:
            _lock(self._file, path)
            self._resume()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> RolloutFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, episode: Episode) -> None:
        """Append an episode, and do not return before it is with the operating system."""
        record = {"settings": self.settings, **to_record(episode)}
        # Retrievers and reward terms may give numbers that are not Python's own.
        text = json.dumps(record, ensure_ascii=False, default=float)
        self._file.write(well_formed(text).encode() + b"\n")
        self._file.flush()
        self.done.add((episode.question.id, episode.attempt))

    def _resume(self) -> None:
        self._file.seek(0)
        end = 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n") and line[: len(_BEGINNING)] == _BEGINNING[: len(line)]:
                break  # cut short by a crash; anything else without an end is not ours to remove
            try:
                record = json.loads(line)
                settings = self._fingerprints | record["settings"]
                attempt = record["question"]["id"], record.get("attempt", 0)
                _check_format(record)
            except _MALFORMED as problem:
                raise DataError(self.path, f"not a recorded episode ({problem!r})", number) from problem
            if settings != self.settings:
                changed = sorted(
                    name
                    for name in settings.keys() | self.settings.keys()
                    if settings.get(name) != self.settings.get(name)
                )
                raise DataError(
                    self.path, f"made with other settings ({', '.join(changed)}); choose another file", number
                )
            self.done.add(attempt)
            end += len(line)
        self._file.truncate(end)
        self._file.seek(0, os.SEEK_END)
