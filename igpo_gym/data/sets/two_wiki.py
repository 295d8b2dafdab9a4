"""2WikiMultihopQA (Ho et al., 2020): HotpotQA's fields, with ``evidences`` (triples) and ``answer_id``.

Other names of an answer stand in ``id_aliases.json`` beside the file, a line for each Wikidata item:
``{"Q_id": "Q1", "aliases": [...], "demonyms": [...]}``; as in the owners' script both kinds are right.
The cut of R1-Searcher (``{"idx", "question", "answer"}``, without passages) is read as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from igpo_gym.data.answers import answers_of
from igpo_gym.data.files import json_lines
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.reading import GatheredPassages, read_set
from igpo_gym.data.rows import Row
from igpo_gym.data.sets import hotpotqa
from igpo_gym.episode import Question
from igpo_gym.errors import DataError

ALIASES = "id_aliases.json"
"""The file of aliases, beside that of the questions."""

Names = Mapping[str, tuple[str, ...]]


def load_2wiki(path: str | Path) -> QuestionSet:
    """The questions of a 2WikiMultihopQA file, and the passages of all their contexts.

    Raises DataError, with the line or entry, for what is not such a file, or not such a file of aliases.
    """
    names = aliases(Path(path).with_name(ALIASES))
    return read_set("2wiki", path, lambda row, corpus: question(row, corpus, names))


def question(row: Row, corpus: GatheredPassages, names: Names | None = None) -> Question:
    """A record's question, with the other names of its answer."""
    if row.get("idx") is not None and row.get("context") is None:
        return Question(row.id("idx"), row.text("question"), row.answers("answer"), source="2wiki")
    made = hotpotqa.question(row, corpus)
    others = (names or {}).get(str(row.get("answer_id")), ())
    return replace(made, answers=tuple(dict.fromkeys((*made.answers, *others))), source="2wiki")


def aliases(path: Path) -> Names:
    """The other names of each Wikidata item; none where there is no such file."""
    names: dict[str, tuple[str, ...]] = {}
    for line, record in json_lines(path) if path.is_file() else ():
        row = Row(record, line)
        try:
            found = [name for name in (*row.items("aliases"), *row.items("demonyms")) if str(name).strip()]
            names[str(row.field("Q_id"))] = answers_of(found) if found else ()
        except ValueError as error:
            raise DataError(path, str(error), line) from None
    return names
