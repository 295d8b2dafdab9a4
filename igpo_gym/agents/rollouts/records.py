"""Episodes as lines of JSON: written as they end, read back as they were.

Records have version 2, see docs/records.md; those of version 1 are read by
:mod:`igpo_gym.agents.rollouts.version1`. What a record holds beyond the fields that are known is kept when it
is read and written again.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from itertools import chain, islice
from operator import index
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, SupportsAbs

from igpo_gym.agents.rollouts.shapes import checked, fits
from igpo_gym.agents.rollouts.version1 import episode_fields as version1_fields
from igpo_gym.data.files import lines, parse_json
from igpo_gym.data.protection import hidden, sealed
from igpo_gym.data.scores import JUDGE, PARTS, all_scores, scores
from igpo_gym.episode import (
    UNREAD,
    Action,
    Answer,
    Belief,
    BeliefView,
    Branch,
    EndReason,
    Episode,
    Invalid,
    Passage,
    Question,
    Segment,
    ToolCall,
    ToolCalls,
    ToolResult,
    Turn,
)
from igpo_gym.errors import DataError
from igpo_gym.numbers import ROUNDING
from igpo_gym.rewards import RewardFunction, Split, split
from igpo_gym.storage import changed, check_plain, full_disk_named, lock, written_file
from igpo_gym.text import well_formed, without_credentials

FORMAT = 2

DEEPEST = 100
"""How deep the values of a record may be: what shows or writes them again calls itself for each level."""

_BEGINNING = b'{"settings": '
"""How every line that a RolloutFile writes begins."""

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

_KNOWN = frozenset(
    (
        *(
            "settings",
            "format",
            "question",
            "attempt",
            "branch",
            "max_turns",
            "end",
            "prediction",
            "em",
            "f1",
            "cover_em",
            PARTS.name,
            JUDGE,
        ),
        *("prompt", "turns", "beliefs", "views", "measured", "instruments", "rewards"),
    )
)
"""What an episode is made of, and what follows from it; what else a record holds is kept."""


def to_record(
    episode: Episode, reward: RewardFunction | None = None, *, clear_text: bool = False
) -> dict[str, Any]:
    """An ended episode as JSON values, with its scores for whoever reads the file without this package.

    A question of a protected set, and what was played of it, is shown without texts
    (:mod:`igpo_gym.data.protection`), unless ``clear_text`` asks for them. With the ``reward`` that it
    was paid, the record tells how it splits into the turns' gains and the outcome (see
    :func:`igpo_gym.rewards.split`). docs/records.md describes every field.
    """
    divided = {} if reward is None else {"split": dataclasses.asdict(split(episode, reward))}
    record = {
        "format": FORMAT,
        "question": _question_record(episode.question),
        "attempt": episode.attempt,
        **({} if episode.branch is None else {"branch": dataclasses.asdict(episode.branch)}),
        "max_turns": episode.max_turns,
        "end": episode.end,
        "prediction": episode.prediction,
        **scores(episode),
        "prompt": [_segment_record(segment) for segment in episode.prompt],
        "turns": [_turn_record(turn) for turn in episode.turns],
        "beliefs": [_belief_record(belief) for belief in episode.beliefs],
        "views": [
            {
                **dataclasses.asdict(view),
                "beliefs": [_belief_record(beliefs[view]) for beliefs in episode.views],
            }
            for view in (episode.views[0] if episode.views else ())
        ],
        "measured": episode.measured,
        "instruments": dict(episode.instruments),
        "rewards": episode.rewards,
        **episode.extra,
        **divided,
    }
    question = episode.question
    if clear_text or not question.protected or hidden(question):
        return record
    return sealed(question, record, all_scores(episode))


def recorded_split(episode: Episode) -> Split | None:
    """The split that the record of an episode tells, see :func:`to_record`; None where it tells none.

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


def from_record(record: Mapping[str, Any]) -> Episode:
    """The episode that :func:`to_record` wrote, or a record of version 1.

    AttributeError, KeyError, TypeError or ValueError for anything else, such as an episode without turns.
    """
    if not record["turns"]:
        raise ValueError("an episode without turns")
    if not _within(record, DEEPEST):
        raise ValueError(f"lists and objects that stand in each other more than {DEEPEST} deep")
    fields = version1_fields(record) if record["format"] == 1 else record
    check_kept(fields)
    episode = Episode(
        question=_question(fields["question"]),
        prompt=tuple(map(_segment, fields["prompt"])),
        turns=[_turn(turn) for turn in fields["turns"]],
        beliefs=[_belief(belief) for belief in fields["beliefs"]],
        views=_views(fields.get("views", [])),
        measured=[dict(values) for values in fields.get("measured", [])],
        instruments=dict(fields.get("instruments", {})),
        rewards=fields["rewards"],
        end=None if fields["end"] is None else EndReason(fields["end"]),
        attempt=fields.get("attempt", 0),
        max_turns=fields.get("max_turns"),
        branch=Branch(**fields["branch"]) if fields.get("branch") else None,
        extra={name: value for name, value in fields.items() if name not in _KNOWN},
    )
    if hidden(episode.question) and not {"em", "f1"} <= fields.get("sealed", {}).keys():
        raise ValueError("a hidden question without the scores of its answer")
    checked(episode)
    if len(episode.rewards) not in (0, len(episode.turns)):
        raise ValueError(f"rewards of {len(episode.rewards)} turns, in an episode of {len(episode.turns)}")
    told = (*episode.rewards, episode.extra.get("sealed", {}))
    if not all(math.isfinite(value) for values in told for value in values.values()):
        raise ValueError("a reward or a score that is not finite")
    return episode


def _within(value: Any, depth: int) -> bool:
    """Whether lists and objects stand in each other no deeper than that."""
    inner = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_within(each, depth - 1) for each in inner if isinstance(each, dict | list))


_KEPT = {UNREAD: list[int], "sealed": dict[str, float]}
"""What an episode keeps beside its fields and others compute with, and of which type it is."""


def check_kept(record: Mapping[str, Any]) -> None:
    """Raise TypeError where what others compute with is of a wrong type."""
    for name, kind in _KEPT.items():
        if name in record and not fits(record[name], kind):
            raise TypeError(f"the {name} of an episode must be {kind}")


def _question_record(question: Question) -> dict[str, Any]:
    """A question without what few have."""
    values = dataclasses.asdict(question)
    common = {
        "protected": False,
        "parts": (),
        "evidence_titles": (),
        "evidence_match": "id",
        "evidence_texts": (),
    }
    return {name: value for name, value in values.items() if common.get(name) != value}


def _question(record: Mapping[str, Any]) -> Question:
    lists = ("answers", "evidence", "evidence_titles", "evidence_texts", "parts")
    return Question(**{**record, **{name: tuple(record.get(name, ())) for name in lists}})


def _belief_record(belief: Belief) -> dict[str, Any]:
    known = {
        "token_log_probs": belief.token_log_probs,
        "joined": belief.joined,
        "weights": belief.weights,
    }
    return {"log_probs": belief.log_probs, **{name: value for name, value in known.items() if value}}


def _belief(record: Mapping[str, Any]) -> Belief:
    tokens = record.get("token_log_probs", ())
    joined = tuple(record.get("joined", ()))
    weights = str(record.get("weights", ""))
    belief = Belief(tuple(record["log_probs"]), tuple(tuple(answer) for answer in tokens), joined, weights)
    if not belief.log_probs or not all(each <= ROUNDING for each in belief.log_probs):
        raise ValueError(f"no log-probabilities of answers: {belief.log_probs!r:.60}")
    return belief


def _views(records: list[dict[str, Any]]) -> list[dict[BeliefView, Belief]]:
    """For each state the beliefs by all views, from all states' beliefs by each."""
    tracks = {
        BeliefView(**{name: value for name, value in record.items() if name != "beliefs"}): record["beliefs"]
        for record in records
    }
    states = zip(*tracks.values(), strict=True)
    return [{view: _belief(belief) for view, belief in zip(tracks, state, strict=True)} for state in states]


def _segment_record(segment: Segment) -> dict[str, Any]:
    """A segment without what it does not know."""
    values = {field: getattr(segment, field.name) for field in dataclasses.fields(segment)}
    return {field.name: value for field, value in values.items() if value != field.default}


def _segment(record: Mapping[str, Any]) -> Segment:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in record.items()
    }
    return Segment(**fields)


def _turn_record(turn: Turn) -> dict[str, Any]:
    return {
        "message": turn.message,
        "action": {"kind": turn.action.kind, **dataclasses.asdict(turn.action)},
        "segments": [_segment_record(segment) for segment in turn.segments],
        "results": [_result_record(result) for result in turn.results],
        "observation": turn.observation,
        "cut": turn.cut,
    }


def _result_record(result: ToolResult) -> dict[str, Any]:
    """A result; a score that is no finite number, which JSON does not have, is 0."""
    values = dataclasses.asdict(result)
    for passage in chain.from_iterable(values["passages"]):
        if isinstance(score := passage["score"], SupportsAbs) and not abs(score) < math.inf:
            passage["score"] = 0.0
    return values


def _turn(record: Mapping[str, Any]) -> Turn:
    return Turn(
        message=record["message"],
        action=_action(record["action"]),
        segments=tuple(map(_segment, record["segments"])),
        results=tuple(map(_result, record["results"])),
        observation=record["observation"],
        cut=record["cut"],
    )


def _result(record: Mapping[str, Any]) -> ToolResult:
    passages = tuple(tuple(Passage(**passage) for passage in found) for found in record["passages"])
    return ToolResult(record["text"], passages, record["failed"])


def _action(record: Mapping[str, Any]) -> Action:
    kind = record["kind"]
    if kind == ToolCalls.kind:
        return ToolCalls(tuple(ToolCall(call["tool"], call["arguments"]) for call in record["calls"]))
    return Answer(record["text"]) if kind == Answer.kind else Invalid(record["reason"])


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
        with _refused(path, number):
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
        with _refused(path, number):
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
def _refused(path: Path, number: int) -> Iterator[None]:
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


def _parsed(line: bytes) -> Any:
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
    record = _parsed(line)
    if not isinstance(record, dict) or "format" not in record:
        raise ValueError(
            "it names no format, as every line does that igpo-gym rollout or igpo-gym import writes; import "
            "reads transcripts of other programs"
        )
    if record["format"] not in (1, FORMAT):
        raise ValueError(f"format {record['format']}; this version reads formats 1 and {FORMAT}")
    return record


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
        with _refused(path, number):
            record = _parsed(line)
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
