"""Reading a corpus of passages, from any of the forms in which corpora are published.

The layout is known from the keys of a file's first record:

- Search-R1, FlashRAG: ``{"id": "0", "contents": "\\"Title\\"\\ntext"}``; where a ``title`` stands beside it,
  ``contents`` is the text, and may begin with that title
- BEIR: ``{"_id": "0", "title": "Title", "text": "text"}``; a title may be absent, and the text a list of
  sentences, as in HotpotQA's and KILT's copies of Wikipedia
- Wikipedia-DPR: tab-separated under the header ``id``, ``text``, ``title``, quoted as in csv
- ``[{"title": "Title", "text": "text"}, ...]``: a passage's number, from 0, becomes its id
- HotpotQA: questions; the passages are those of their contexts

An id is ``_id``, ``id``, ``docid`` (Tevatron) or ``doc_id``. The records may stand in JSON lines, a JSON
array, a table or a parquet file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from igpo_gym.data.rows import Row
from igpo_gym.episode import Passage
from igpo_gym.errors import DataError, DuplicateIdError
from igpo_gym.search.corpus.layouts import KEYS, KIND_NAMES, Contexts, CorpusLayout, recognized
from igpo_gym.search.corpus.sources import STDIN, opened

__all__ = ["located", "read_corpus"]


def read_corpus(
    *paths: str | Path, skip_empty: bool = False, tell: Callable[[str], None] | None = None
) -> Iterator[Passage]:
    """The passages of one or several files, as a stream of which nothing is kept.

    "-" is standard input; what is packed is unpacked (:data:`igpo_gym.storage.PACKED`). ``tell`` is called
    with a line that says as what each file is read, and at the end how many passages without text were left
    out, if ``skip_empty``. Whether ids are unique is for the index to find out: see :func:`located`.

    Raises DataError, with file and line, for a malformed record, an unknown layout and a passage without
    text, and for a file that is missing, damaged or has no passages.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "corpus.jsonl"
    >>> _ = path.write_text('{"id": 7, "contents": "Danzig\\\\nA port."}')
    >>> list(read_corpus(path))
    [Passage(id='7', title='Danzig', text='A port.', score=0.0)]
    """
    for _, _, passage in _placed(paths, skip_empty, tell or (lambda line: None)):
        yield passage


@contextmanager
def located(*paths: str | Path, skip_empty: bool = False) -> Iterator[None]:
    """Turn a DuplicateIdError of an index that reads these files into a DataError with file and line.

    The files are read once more for it, and only then.
    """
    try:
        yield
    except DuplicateIdError as found:
        if STDIN in map(str, paths):
            raise DataError("standard input", str(found)) from None
        raise _with_places(paths, skip_empty, found) from None


def _with_places(paths: tuple[str | Path, ...], skip_empty: bool, found: DuplicateIdError) -> Exception:
    """The same error with the places of both passages."""
    first = ""
    for number, (path, row, _) in enumerate(_placed(paths, skip_empty, lambda line: None)):
        if number == found.first:
            first = f"{path}, {row.unit} {row.number}"
        if number == found.second:
            return row.wrong(path, f"the passage id {found.id!r} comes a second time, first in {first}")
    return found  # the files are no longer what they were


def _placed(
    paths: tuple[str | Path, ...], skip_empty: bool, tell: Callable[[str], None]
) -> Iterator[tuple[Path, Row, Passage]]:
    contexts, number, skipped = Contexts(), 0, 0
    for path, kind, rows in (opened(path, KEYS) for path in paths):
        layout: CorpusLayout | None = None
        for row in rows:
            try:
                if layout is None:
                    layout = recognized(row, kind, contexts)
                    tell(f"{path}: read as {KIND_NAMES[kind]}, {layout.name}")
                for passage in layout.read(row, number):
                    if passage.text.strip():
                        yield path, row, passage
                        number += 1
                    elif skip_empty:
                        skipped += 1
                    else:
                        raise ValueError(
                            f"the passage {passage.id!r} has no text; --skip-empty leaves such ones out"
                        )
            except ValueError as error:
                raise row.wrong(path, error) from None
        if layout is None:
            raise DataError(path, "the corpus has no passages")
    if skipped:
        tell(f"{skipped:,} passages without text were left out")
