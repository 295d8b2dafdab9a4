"""Passages in what an environment replied, in the forms in which public environments show them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from igpo_gym.data.reading import Corpus
from igpo_gym.episode import Passage, ToolCall, ToolResult

Found: TypeAlias = list[list[tuple[str, str, str]]]
"""For each query its passages, each with title, text and id; an empty id is to be made."""

_NUMBERED = re.compile(
    r"^Doc (\d+) ?\(Title: (.*?)\) ?(.*?)(?=^Doc \d+ ?\(Title: |\Z)", re.DOTALL | re.MULTILINE
)
_TITLE_TEXT = re.compile(
    r'^\((\d+)\)\s?"?Title: ?(.*?) ?Text: ?(.*?)"?\s*(?=^\(\d+\)\s?"?Title:|\Z)', re.DOTALL | re.MULTILINE
)
_SPACED = re.compile(r"^\((\d+)\)([^\n]*?)   (.*?)(?=^\(\d+\)|\Z)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(
    r"^(\d+)\. \[(.*?)\]\((\S*?)\)(.*?)(?=^\d+\. \[.*?\]\(\S*?\)|\Z)", re.DOTALL | re.MULTILINE
)
_QUOTED = re.compile(r'(?:\A|\n\n)"([^"\n]+)"\n(.*?)(?=\n\n"[^"\n]+"\n|\Z)', re.DOTALL)
_WRAPPED = re.compile(r"\A<(\w+)>\s*(.*?)\s*</\1>\Z", re.DOTALL)
_LISTS = ("web_page_info_list", "results", "result", "organic", "documents", "passages", "pages", "data")
_BETWEEN = "\n=======\n"


def results(calls: Sequence[ToolCall], replies: Sequence[str], corpus: Corpus) -> tuple[ToolResult, ...]:
    """The result of each call, from the environment's replies to them all.

    Where there is not a reply for each call, the first call has them all, joined. A passage's id is its
    address where it is told, else its title, told apart by ``corpus`` where it comes with another text.

    >>> call = ToolCall("search", {"query": "Danzig"})
    >>> reply = "Doc 1(Title: Danzig) A port.\\nDoc 2(Title: Vistula) A river.\\n"
    >>> (found,) = results([call], [reply], Corpus())
    >>> [passage.title for passage in found.passages[0]]
    ['Danzig', 'Vistula']
    >>> results([call], ["No results."], Corpus())
    (ToolResult(text='No results.', passages=(), failed=False),)
    """
    if len(replies) != len(calls):
        replies = ["\n".join(replies), *[""] * (len(calls) - 1)]
    return tuple(_result(reply, corpus) for reply in replies)


def _result(reply: str, corpus: Corpus) -> ToolResult:
    body = reply.strip()
    if wrapped := _WRAPPED.match(body):
        body = wrapped[2]
    for read in _FORMS:
        if found := read(body):
            return ToolResult(passages=tuple(tuple(_passages(each, corpus)) for each in found))
    return ToolResult(text=body)


def _passages(found: Sequence[tuple[str, str, str]], corpus: Corpus) -> list[Passage]:
    return [
        Passage(id_ or corpus.add(title or text[:80], text), title, text)
        for title, text, id_ in ((_unquoted(title), text.strip(), id_) for title, text, id_ in found)
    ]


def _unquoted(title: str) -> str:
    title = title.strip()
    return title[1:-1] if len(title) > 1 and title[0] == title[-1] == '"' else title


def _json(body: str) -> Found:
    if not body.startswith(("[", "{")):
        return []
    with suppress(ValueError, RecursionError):
        return _listed(json.loads(body))
    return []


def _listed(value: Any) -> Found:
    """Passages in JSON: a list of pages, or of queries that have lists of pages; or an object with such."""
    if isinstance(value, dict):
        inner = next((value[name] for name in _LISTS if isinstance(value.get(name), list)), None)
        return [] if inner is None else _listed(inner)
    if not isinstance(value, list) or not value:
        return []
    if all(isinstance(each, list) or _inner(each) is not None for each in value):
        groups = [each if isinstance(each, list) else _inner(each) or [] for each in value]
        return [[page for each in group if (page := _page(each))] for group in groups]
    pages = [page for each in value if (page := _page(each))]
    return [pages] if pages else []


def _inner(value: Any) -> list[Any] | None:
    if not isinstance(value, dict):
        return None
    return next((value[name] for name in _LISTS if isinstance(value.get(name), list)), None)


def _page(value: Any) -> tuple[str, str, str] | None:
    if not isinstance(value, dict):
        return None
    page = value["document"] if isinstance(value.get("document"), dict) else value
    texts = [page[name] for name in _TEXTS if isinstance(page.get(name), str)]
    if not texts:
        return None
    title, text = page.get("title"), texts[0]
    if not isinstance(title, str):
        title, _, text = text.partition("\n") if "\n" in text else ("", "", text)
    address = next((page[name] for name in ("url", "link") if isinstance(page.get(name), str)), "")
    return title, text, address


_TEXTS = ("quick_summary", "contents", "content", "text", "snippet", "summary", "body", "information")


def _by(pattern: re.Pattern[str], title: int, text: int, address: int = 0) -> Callable[[str], Found]:
    def read(body: str) -> Found:
        groups = [
            [
                (match[title], match[text], match[address] if address else "")
                for match in pattern.finditer(part)
            ]
            for part in body.split(_BETWEEN)
        ]
        return groups if any(groups) else []

    return read


_FORMS: tuple[Callable[[str], Found], ...] = (
    _json,
    _by(_NUMBERED, 2, 3),
    _by(_TITLE_TEXT, 2, 3),
    _by(_SPACED, 2, 3),
    _by(_LINK, 2, 4, 3),
    _by(_QUOTED, 1, 2),
)
"""The forms, in the order in which they are tried; a reply in none of them is a text."""
