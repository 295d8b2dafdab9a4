"""The Search-R1 protocol and its dialects: what search servers are asked, and how their answers are read.

Pure functions between queries, JSON and passages, for the client and the server. Nothing in an answer is
believed: a ValueError says what was wrong with it.

>>> answer = {"result": [[{"document": {"id": 7, "contents": '"Danzig"\\nA port.'}, "score": 0.5}]]}
>>> DIALECTS["queries+scores"].read(answer, ["a port"], k=3)
[[Passage(id='7', title='Danzig', text='A port.', score=0.5)]]
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from igpo_gym.episode import Passage
from igpo_gym.numbers import finite_number

ID_FIELDS = ("id", "_id", "docid", "doc_id", "url", "link")
"""Where a document's id is looked for, in this order."""

TEXT_FIELDS = ("text", "contents", "content")
"""Where a document's text is looked for; only ``contents`` begins with a line for the title."""

MOST_RESULTS = 32_768
"""How many passages a request asks for at most, over all its queries; our server gives so many."""


@dataclass(frozen=True, slots=True)
class SearchDialect:
    """One way to ask for passages.

    >>> DIALECTS["query+scores"].ask(["Danzig"], k=3)
    {'query': 'Danzig', 'topk': 3, 'return_scores': True}
    """

    name: str
    many: bool
    """Whether a request holds a list of ``queries``, or else one ``query``."""
    scores: bool
    """Whether ``return_scores`` is sent, which some servers do not know."""

    def ask(self, queries: Sequence[str], k: int) -> dict[str, Any]:
        """The body of a request for the ``k`` best passages of each query."""
        asked: dict[str, Any] = {"queries": list(queries)} if self.many else {"query": queries[0]}
        return asked | {"topk": k} | ({"return_scores": True} if self.scores else {})

    def read(self, answer: object, queries: Sequence[str], k: int, id_field: str = "") -> list[list[Passage]]:
        """For each query its passages, at most ``k`` and each id once, best first.

        ``id_field`` is where documents have their id, if not in one of ``ID_FIELDS``. Raises ValueError for
        an answer that is not what it should be.
        """
        results = listed(answer)
        if not self.many and not (results and isinstance(results[0], list)):
            results = [results]
        if len(results) != len(queries):
            raise ValueError(f"it gave {len(results)} results for {len(queries)} queries")
        return [_passages(each, k, id_field) for each in results]


DIALECTS: Mapping[str, SearchDialect] = MappingProxyType(
    {
        each.name: each
        for each in (
            SearchDialect("queries+scores", many=True, scores=True),
            SearchDialect("query+scores", many=False, scores=True),
            SearchDialect("queries", many=True, scores=False),
            SearchDialect("query", many=False, scores=False),
        )
    }
)
"""The dialects in the order in which a server is tried."""


def listed(answer: object) -> list[Any]:
    """The list that an answer holds. Raises ValueError where there is none."""
    if isinstance(answer, dict):
        answer = answer.get("result", answer.get("results", answer))
    if not isinstance(answer, list):
        raise ValueError(f"its answer holds no list 'result': {answer!r:.100}")
    return answer


def _passages(found: object, k: int, id_field: str) -> list[Passage]:
    if not isinstance(found, list):
        raise ValueError(f"the result of a query is no list: {found!r:.100}")
    passages: dict[str, Passage] = {}
    for item in found:
        if len(passages) == k:
            break
        passage = read_passage(item, id_field)
        passages.setdefault(passage.id, passage)
    return list(passages.values())


def read_passage(item: object, id_field: str = "") -> Passage:
    """A passage from a document, alone or beside its score. Without an id, or with an empty one, it gets one
    made of its content.

    >>> read_passage({"title": "Danzig", "text": "A port."})
    Passage(id='2229af0f08959764', title='Danzig', text='A port.', score=0.0)

    Raises ValueError for what is no document, and for one without a text.
    """
    document: object = item
    if isinstance(item, dict) and "document" in item:
        document = item["document"]
    if isinstance(document, str):
        document = {"contents": document}
    if not isinstance(document, dict):
        raise ValueError(f"what it found is no document: {item!r:.100}")
    title, text = _parts(document)
    fields = (id_field,) if id_field else ID_FIELDS
    given = next(filter(None, (_id(document.get(name)) for name in fields)), "")
    assert isinstance(item, (dict, str))
    return Passage(given or _made_id(title, text), title, text, _score(item, document))


def _id(value: object) -> str:
    """What a field says as an id; empty where it says nothing."""
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


def _parts(document: Mapping[str, Any]) -> tuple[str, str]:
    """The title and the text of a document."""
    field = next((name for name in TEXT_FIELDS if isinstance(document.get(name), str)), None)
    if field is None:
        fields = ", ".join(map(str, document)) or "none"
        raise ValueError(f"a document has no text among its fields: {fields:.100}")
    text, title = document[field], document.get("title")
    title = title if isinstance(title, str) else None
    return titled(title, text) if field == "contents" else (title or "", text)


def titled(title: str | None, contents: str) -> tuple[str, str]:
    """Title and text of ``contents`` beside a title, which may head them; without one their first line is it.

    >>> titled("Danzig", '"Danzig"\\nA port.'), titled("Danzig", "A port."), titled(None, "Danzig\\nA port.")
    (('Danzig', 'A port.'), ('Danzig', 'A port.'), ('Danzig', 'A port.'))
    """
    if title is None:
        return split_contents(contents)
    for heading in (f'"{title}"\n', f"{title}\n"):
        if contents.startswith(heading):
            return title, contents[len(heading) :]
    return title, contents


def split_contents(contents: str) -> tuple[str, str]:
    """Title and text of Search-R1's ``contents``, whose first line is the title, mostly in quotes.

    >>> split_contents('"Danzig"\\nA port.'), split_contents("A port.")
    (('Danzig', 'A port.'), ('', 'A port.'))
    """
    title, newline, text = contents.partition("\n")
    if not newline:
        return "", contents
    quoted = len(title) > 1 and title[0] == title[-1] == '"'
    return title[1:-1] if quoted else title, text


def join_contents(title: str, text: str) -> str:
    """Title and text as Search-R1's ``contents``.

    >>> join_contents("Danzig", "A port.")
    '"Danzig"\\nA port.'
    """
    return f'"{title}"\n{text}'


def write_passage(passage: Passage) -> dict[str, str]:
    """A passage as a document of Search-R1. The title stands there for itself too, for it may hold anything.

    >>> write_passage(Passage("7", "Danzig", "A port."))
    {'id': '7', 'title': 'Danzig', 'contents': '"Danzig"\\nA port.'}
    """
    return {
        "id": passage.id,
        "title": passage.title,
        "contents": join_contents(passage.title, passage.text),
    }


def write_document(passages: Sequence[Passage]) -> dict[str, Any] | None:
    """A whole document as ``/access`` gives it: its contents, and the passages that it is made of."""
    if not passages:
        return None
    whole = join_contents(passages[0].title, "\n".join(passage.text for passage in passages))
    return {"contents": whole, "passages": [write_passage(passage) for passage in passages]}


def read_documents(answer: object, ids: Sequence[str]) -> list[tuple[Passage, ...]]:
    """For each id the document that ``/access`` gave, empty where it has none. Raises ValueError."""
    results = listed(answer)
    if len(results) != len(ids):
        raise ValueError(f"it gave {len(results)} documents for {len(ids)} ids")
    return [_document(item, id_) for item, id_ in zip(results, ids, strict=True)]


def _document(item: object, id_: str) -> tuple[Passage, ...]:
    if not item:
        return ()
    parts = item.get("passages") if isinstance(item, dict) else None
    if isinstance(parts, list) and parts:
        return tuple(map(read_passage, parts))
    whole = read_passage(item)
    return (Passage(id_, whole.title, whole.text),) if whole.text or whole.title else ()


def _score(*places: object) -> float:
    scores: Iterable[object] = (place.get("score") for place in places if isinstance(place, dict))
    return next((number for score in scores if (number := finite_number(score)) is not None), 0.0)


def _made_id(title: str, text: str) -> str:
    return hashlib.blake2b(f"{title}\n{text}".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
