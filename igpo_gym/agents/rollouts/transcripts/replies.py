"""Passages in what an environment replied, in the forms in which public environments show them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from igpo_gym.data.reading import GatheredPassages
from igpo_gym.episode import Invalid, Passage, ToolCall, ToolResult
from igpo_gym.protocols.calls_in_text import OBSERVATION
from igpo_gym.protocols.protocol import INVALID

Found: TypeAlias = list[list[tuple[str, str, str]]]
"""For each query its passages, each with title, text and id; an empty id is to be made."""

_WRAPPER = re.compile(r"<(\w+)>")
_LISTS = ("web_page_info_list", "results", "result", "organic", "documents", "passages", "pages", "data")
_BETWEEN = "\n=======\n"


def results(
    calls: Sequence[ToolCall], replies: Sequence[str], corpus: GatheredPassages
) -> tuple[ToolResult, ...]:
    """The result of each call, from the environment's replies to them all.

    Where there is not a reply for each call, the first call has them all, joined. A passage's id is its
    address where it is told, else its title, told apart by ``corpus`` where it comes with another text.

    >>> call = ToolCall("search", {"query": "Danzig"})
    >>> reply = "Doc 1(Title: Danzig) A port.\\nDoc 2(Title: Vistula) A river.\\n"
    >>> (found,) = results([call], [reply], GatheredPassages())
    >>> [passage.title for passage in found.passages[0]]
    ['Danzig', 'Vistula']
    >>> results([call], ["No results."], GatheredPassages())
    (ToolResult(text='No results.', passages=(), failed=False),)
    """
    if len(replies) != len(calls):
        replies = ["\n".join(replies), *[""] * (len(calls) - 1)]
    return tuple(_result(reply, corpus) for reply in replies)


REFUSED = Invalid("the environment refused the message")


def refused(replies: Sequence[str]) -> bool:
    """Whether the environment refused the message, in the words of this package or of Search-R1.

    >>> refused(["<information>\\nInvalid message: the answer is empty.\\n</information>"]), refused([])
    (True, False)
    """
    return bool(replies) and all(_unwrapped(each).startswith(_REFUSALS) for each in replies)


_REFUSALS = (INVALID, "My previous action is invalid.")


def _unwrapped(reply: str) -> str:
    body = reply.strip()
    if (opening := _WRAPPER.match(body)) and body.endswith(closing := f"</{opening[1]}>"):
        body = body[opening.end() : -len(closing)].strip()
    mark = OBSERVATION.match(body)
    return body[mark.end() :].strip() if mark else body


def _result(reply: str, corpus: GatheredPassages) -> ToolResult:
    body = _unwrapped(reply)
    for read in _FORMS:
        if found := read(body):
            return ToolResult(passages=tuple(tuple(_passages(each, corpus)) for each in found))
    return ToolResult(text=body)


def _passages(found: Sequence[tuple[str, str, str]], corpus: GatheredPassages) -> list[Passage]:
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
        inner = _inner(value)
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


def _by(
    header: str, passage: Callable[[re.Match[str], str], tuple[str, str, str] | None]
) -> Callable[[str], Found]:
    """Reads passages, each made by ``passage`` of its header and the text up to the next."""
    pattern = re.compile(header, re.MULTILINE)

    def read(body: str) -> Found:
        groups = [list(passages(part)) for part in body.split(_BETWEEN)]
        return groups if any(groups) else []

    def passages(part: str) -> Iterator[tuple[str, str, str]]:
        headers = list(pattern.finditer(part))
        ends = [*(each.start() for each in headers[1:]), len(part)]
        for each, end in zip(headers, ends, strict=False):
            if made := passage(each, part[each.end() : end]):
                yield made

    return read


def _title_text(_: re.Match[str], told: str) -> tuple[str, str, str] | None:
    title, sign, text = told.partition("Text:")
    return (title, text.rstrip().removesuffix('"'), "") if sign else None


def _spaced(_: re.Match[str], told: str) -> tuple[str, str, str] | None:
    line, end, rest = told.partition("\n")
    title, sign, text = line.partition("   ")
    return (title, text + end + rest, "") if sign else None


_BALANCED = r"[^\n()]*+(?:\((?:[^\n()]|\([^\n()]*+\))*+\)[^\n()]*+)*+"
"""Text in which each parenthesis is closed, one within another at most."""

_TITLE = rf'((?:{_BALANCED}|"[^\n]*?")(?=\)(?:\s|\Z))|[^\n]*?(?=\)))\)'
"""A title up to the parenthesis that closes it: one with parentheses of its own, else one between quotation
marks, else up to the first one."""

_ADDRESS = r"\(((?:[^\s\]()]|\([^\s\]()]*+\))*+(?=\))|[^\s\])]*)\)"
"""An address in parentheses, which may hold pairs of them."""

_FORMS: tuple[Callable[[str], Found], ...] = (
    _json,
    _by(rf"^Doc \d+ ?\(Title: {_TITLE}", lambda found, text: (found[1], text, "")),
    _by(r'^\(\d+\)\s?"?Title:', _title_text),
    _by(r"^\(\d+\)", _spaced),
    _by(rf"^\d+\. \[([^\n]*?)\]{_ADDRESS}", lambda found, text: (found[1], text, found[2])),
    _by(r'(?:\A|\n\n)("[^\n]+")\n', lambda found, text: (found[1], text, "")),
)
"""The forms, in the order in which they are tried; a reply in none of them is a text."""
