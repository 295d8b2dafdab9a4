"""Which layout a file of questions has, found out by the fields of its first record, and its name."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import igpo_gym.specs as specs
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.reading import WITHIN, GatheredPassages
from igpo_gym.data.rows import NAMES_COLUMNS, Row, first_row
from igpo_gym.data.subsets import subset
from igpo_gym.episode import Question
from igpo_gym.errors import DataError


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout, by the fields that tell it.

    >>> Layout("nq", "nq", ("question", "answer")).fits({"question": "?", "answer": ["Danzig"]})
    True
    """

    name: str
    """The registered name of its loader."""
    module: str
    """The module in :mod:`igpo_gym.data.sets`."""
    tells: tuple[str, ...]
    """The fields that a record has; ``a|b`` is either."""
    within: str = ""
    """Of these the one that is an object; ``a|b`` is either."""
    alone: bool = False
    """Whether it has no other fields."""
    table: bool | None = None
    """Whether it stands in a table, CSV or with tabs; None: anywhere."""
    any_case: bool = False
    """Whether capitals in the names of its fields do not matter."""
    word: str = ""
    """Of a layout whose fields a file of one's own may have as well: the word that its name tells it by."""
    reader: str = "question"
    """The function of the module that reads a record."""

    def fits(self, fields: Mapping[str, object], table: bool = False) -> bool:
        """Whether a record has the layout, in a table or elsewhere."""
        if self.table is not None and self.table != table:
            return False
        names = {name.lower() for name in fields} if self.any_case else set(fields)
        there = all(not names.isdisjoint(each.split("|")) for each in self.tells)
        if self.within and not any(isinstance(fields.get(name), dict) for name in self.within.split("|")):
            return False
        return there and (not self.alone or len(fields) == len(self.tells))

    def named(self, path: Path) -> bool:
        """Whether a file, or data set, of this name may have the layout: the name, or that of the folder, has
        the word for it.

        >>> [Layout("nq", "nq", (), word="nq").named(Path(name)) for name in ("NQ-open.jsonl", "mine.jsonl")]
        [True, False]
        """
        return not self.word or self.word in re.findall("[a-z0-9]+", " ".join(path.parts[-2:]).lower())

    def question(self, row: Row, corpus: GatheredPassages) -> Question | None:
        """What the layout makes of a record."""
        read = getattr(importlib.import_module(f"igpo_gym.data.sets.{self.module}"), self.reader)
        made: Question | None = read(row, corpus)
        return made


LAYOUTS = (
    Layout("2wiki", "two_wiki", ("question", "answer", "context", "supporting_facts", "evidences")),
    Layout("hotpotqa", "hotpotqa", ("question", "context", "supporting_facts")),
    Layout("musique", "musique", ("question", "paragraphs", "question_decomposition")),
    Layout("squad", "squad", ("question", "context", "answers"), within="answers"),
    Layout("squad", "squad", ("paragraphs",), table=False),
    Layout("strategyqa", "strategyqa", ("qid", "question", "decomposition|facts")),
    Layout("fanoutqa", "fanoutqa", ("id", "question", "decomposition|necessary_evidence")),
    Layout("verl", "verl", ("data_source", "reward_model")),
    Layout(
        "triviaqa",
        "triviaqa",
        ("QuestionId|question_id", "Question|question", "Answer|answer"),
        within="Answer|answer",
    ),
    Layout("popqa", "popqa", ("question", "possible_answers")),
    Layout("browsecomp", "browsecomp", ("problem", "answer", "canary")),
    Layout("browsecomp-plus", "browsecomp", ("query_id", "query", "answer"), reader="plus_question"),
    Layout("simpleqa", "simpleqa", ("metadata", "problem", "answer")),
    Layout("frames", "frames", ("Prompt", "Answer", "wiki_links")),
    Layout("webwalkerqa", "webwalkerqa", ("question|Question", "root_url|Root_Url", "info|Info")),
    Layout("flashrag", "flashrag", ("question", "golden_answers", "metadata")),
    Layout("bamboogle", "bamboogle", ("Question", "Answer"), alone=True, word="bamboogle"),
    Layout("nq", "nq", ("question", "answer"), alone=True, table=False, word="nq"),
    Layout("jsonl", "jsonl", ("question", "answers|golden_answers|answer"), table=False, any_case=True),
    Layout("csv", "table", ("question", "answers|golden_answers|answer"), table=True, any_case=True),
)
"""Every layout that is recognized, in the order in which they are tried."""


_COMMON = tuple(inspect.signature(subset).parameters)[1:]
"""The options of every set."""


def load_any(path: str, **options: str) -> QuestionSet:
    """The questions of a file, in whichever of the known layouts it is; the set's name says which was taken.

    ``options`` are those of its loader. Raises DataError for what is wrong with the file, and for a layout
    that is not known.
    """
    row = first_row(Path(path), WITHIN)
    if row is None:
        raise DataError(path, "the file has no questions")
    layout = layout_of(row, Path(path))
    make = specs.maker("questions", layout.name)
    loaded: QuestionSet = specs.called(make, f"the layout {layout.name!r}", path, options, {}, also=_COMMON)
    return loaded


def layout_of(row: Row, path: Path) -> Layout:
    """The layout of a record. Raises DataError that says what was looked for and what is there."""
    fields = dict.fromkeys(row.columns) | dict(row.fields)
    for layout in LAYOUTS:
        if layout.named(path) and layout.fits(fields, bool(row.columns)):
            return layout
    looked = "; ".join(f"{layout.name}: {', '.join(layout.tells)}" for layout in LAYOUTS)
    there = f"there is: {', '.join(map(str, fields)) or 'nothing':.200}"
    told = NAMES_COLUMNS if row.columns else there
    plain = "give each record a question and an answer (or answers), or write a loader"
    raise row.wrong(path, f"no known layout of questions; {told}; {plain}; looked for {looked}")
