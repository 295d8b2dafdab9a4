"""Questions from a table of one's own, CSV or with tabs: ``question`` and ``answer`` or ``answers``.

``answers`` may be a JSON list in its cell. Optional columns: ``id`` (or another name of
it as in JSON; the line number if absent), ``evidence`` (a passage id, or a JSON list of such), ``hops``,
``source`` (the file's name up to its first dot if absent). Capitals in the names of columns do not matter.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from igpo_gym.data.files import parse_json
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.reading import GatheredPassages, read_set
from igpo_gym.data.rows import Row
from igpo_gym.data.sets import jsonl
from igpo_gym.episode import Question


def load_csv(path: str | Path) -> QuestionSet:
    """The questions of a table. DataError, with the line, for what is not one."""
    source = Path(path).name.partition(".")[0]
    return read_set("csv", path, lambda row, corpus: question(row, corpus, source))


def question(row: Row, corpus: GatheredPassages, source: str = "") -> Question:
    """A record's question."""
    fields = {name.lower(): value for name, value in row.fields.items()}
    for name in ("answers", "golden_answers", "evidence"):
        with suppress(ValueError, TypeError, RecursionError):
            if isinstance(found := parse_json(fields.get(name, "")), list):
                fields[name] = found
    return jsonl.question(replace(row, fields=fields), corpus, source)
