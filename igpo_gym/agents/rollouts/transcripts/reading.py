"""Transcripts of any agent, from files of any known layout, as episodes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import igpo_gym.specs as specs
from igpo_gym.agents.rollouts.transcripts.golds import Golds
from igpo_gym.agents.rollouts.transcripts.inspect_logs import samples
from igpo_gym.agents.rollouts.transcripts.interface import Transcript, TranscriptLayout
from igpo_gym.data import resolve_questions
from igpo_gym.data.files import raised
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.metrics import normalize
from igpo_gym.data.rows import Row, head_of, rows
from igpo_gym.episode import Episode, Question
from igpo_gym.errors import DataError

KIND = "transcripts"
"""The kind under which layouts are registered."""

OWN = {
    "igpo-gym": "own",
    "inspect": "inspect_logs",
    "verifiers": "verifiers",
    "verl": "verl",
    "chat": "chat",
    "r1-searcher": "r1_searcher",
    "search-o1": "search_o1",
    "research": "research",
    "tool-text": "tool_text",
    "search-r1": "search_r1",
}
"""The package's layouts and their modules, in the order in which they are tried."""

_HEAD = 256


def read_transcripts(
    path: str | Path,
    layout: str | TranscriptLayout = "auto",
    *,
    questions: str | QuestionSet | None = None,
    unread: Callable[[DataError], None] | None = None,
) -> Iterator[Episode]:
    """The transcripts of a file as ended episodes, in its order, one record in memory at a time.

    Each says in ``imported`` where it comes from: its ``layout`` and ``framing``, the ``place`` in the file,
    and in ``told`` the numbers that its source noted.

    Args:
        path: JSON lines, a JSON array, parquet or a table, plain, ``.gz``, ``.zst``, ``.bz2`` or ``.xz``, or
            a log of Inspect.
        layout: a registered name (docs/import.md), ``package.module:attribute``, a :class:`TranscriptLayout`,
            or ``auto``: the first one that fits, record by record.
        questions: a set of questions, in which the gold answers are looked up, by id or by text; by default
            they are those of the record.
        unread: is told of each record that cannot be read, with its place and the reason. By default the
            first one is raised.

    >>> import json, pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name, "logs.jsonl")
    >>> messages = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "In Danzig."}]
    >>> _ = path.write_text(json.dumps({"messages": messages, "answer": "Danzig"}))
    >>> (episode,) = read_transcripts(path)
    >>> episode.prediction, episode.question.answers, episode.imported["layout"]
    ('In Danzig.', ('Danzig',), 'chat')
    >>> folder.cleanup()
    """
    path = Path(path)
    chosen = None if layout == "auto" else specs.resolve(KIND, layout)
    golds = None
    if questions is not None:
        found = resolve_questions(questions)
        golds = Golds(found.questions, found.passages)
    return _episodes(path, chosen, golds, unread or raised)


def _episodes(
    path: Path, chosen: TranscriptLayout | None, golds: Golds | None, unread: Callable[[DataError], None]
) -> Iterator[Episode]:
    attempts: Counter[str] = Counter()
    ids = _Ids()
    told = False
    for row in _records(path, unread):
        try:
            layout = chosen or layout_of(row)
            found = layout.read(row)
            made = [_episode(each, layout, row, golds) for each in found]
        except UnknownLayoutError as problem:
            unread(row.wrong(path, problem.without_known if told else problem))
            told = True
            continue
        except (ValueError, TypeError, RecursionError) as problem:
            unread(row.wrong(path, problem))
            continue
        for episode in made:
            if episode.imported:
                episode.question = ids.told_apart(episode.question)
                episode.attempt = attempts[episode.question.id]
                attempts[episode.question.id] += 1
            yield episode


class _Ids:
    """Gives a question whose id another one of the file has an id of its own, such as "7 (2)".

    Files that were put together from several sets number each of them anew, and attempts at different
    questions must not be compared.
    """

    def __init__(self) -> None:
        self._ids: dict[tuple[str, str, str], str] = {}
        """By id, source and normal form of a question the id that it has now."""
        self._taken: set[str] = set()
        self._numbers: Counter[str] = Counter()
        """By id the last number that was put behind it."""

    def told_apart(self, question: Question) -> Question:
        """The question, with an id that no other question has."""
        key = question.id, question.source, normalize(question.text)
        if key not in self._ids:
            name, number = question.id, 1
            while name in self._taken:
                number = max(number, self._numbers[question.id]) + 1
                name = f"{question.id} ({number})"
            self._numbers[question.id] = number
            self._taken.add(name)
            self._ids[key] = name
        return question if self._ids[key] == question.id else replace(question, id=self._ids[key])


def layout_of(row: Row) -> TranscriptLayout:
    """The layout of a record. Raises UnknownLayoutError."""
    known = layouts()
    for layout in known:
        if layout.fits(row.fields):
            return layout
    looked = "; ".join(f"{layout.name}: {layout.tells}" for layout in known)
    there = ", ".join(map(str, row.fields)) or "nothing"
    raise UnknownLayoutError(f"no known layout of transcripts; there is: {there:.200}", looked)


class UnknownLayoutError(ValueError):
    """A record that no layout fits; says what is there, and what was looked for."""

    def __init__(self, there: str, looked: str) -> None:
        super().__init__(there, looked)

    def __str__(self) -> str:
        there, looked = self.args
        return f"{there}; looked for {looked}"

    @property
    def without_known(self) -> ValueError:
        """The same without the list of what was looked for, which is long and need not be read twice."""
        return ValueError(self.args[0])


def layouts() -> tuple[TranscriptLayout, ...]:
    """All registered layouts, in the order in which they are tried: those from outside come first.

    >>> [layout.name for layout in layouts()][-2:]
    ['tool-text', 'search-r1']
    """
    names = specs.names(KIND)
    ordered = (*(name for name in names if name not in OWN), *OWN)
    return tuple(specs.resolve(KIND, name) for name in ordered)


def _episode(found: Transcript | Episode, layout: TranscriptLayout, row: Row, golds: Golds | None) -> Episode:
    if isinstance(found, Episode):
        return found
    place = f"{row.unit} {row.number}"
    imported: dict[str, Any] = {"layout": layout.name, "framing": found.framing, "place": place}
    if found.about.told:
        imported["told"] = dict(found.about.told)
    return Episode(
        _question(found, golds),
        found.prompt,
        list(found.turns),
        end=found.end,
        extra={"imported": imported},
    )


def _question(found: Transcript, golds: Golds | None) -> Question:
    told = found.about
    if golds is not None:
        return golds.question(told)
    if not told.question:
        raise ValueError("the record tells no question")
    if not told.answers:
        raise ValueError("the record tells no gold answer; give --questions, a set that holds its question")
    id_ = told.id or hashlib.sha256(normalize(told.question).encode()).hexdigest()[:16]
    return Question(id_, told.question, told.answers, source=told.source)


def _records(path: Path, unread: Callable[[DataError], None]) -> Iterator[Row]:
    """The records of a file; a line or entry that is no JSON object is told to ``unread``."""
    return samples(path) if _is_inspect(path) else rows(path, unread=unread)


def _is_inspect(path: Path) -> bool:
    """Whether a file is a log of Inspect: a zip, or an object that begins with a version and has an eval."""
    if path.suffix == ".eval":
        return True
    head = head_of(path, _HEAD)
    if head.startswith(b"PK\x03\x04"):
        return True
    packed = b"".join(head.split())
    return packed.startswith(b'{"version":') and b'"eval":{' in packed
