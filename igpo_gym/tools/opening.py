"""The tool ``open``: a whole document that the episode has seen a part of, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from igpo_gym.episode import Episode, Passage, ToolCall, ToolCalls, ToolResult
from igpo_gym.errors import SpecError
from igpo_gym.search.interface import DocumentSource, documents_of
from igpo_gym.text import cut_at_sentence, echoed, neutralize, restored
from igpo_gym.tools.interface import Tool, ToolSpec

OPEN = ToolSpec(
    name="open",
    description="Read a whole document that a search has shown, page by page.",
    parameters={
        "type": "object",
        "properties": {
            "document": {"type": "string", "description": "Its title, id or URL, as the results show it."},
            "page": {"type": "integer", "minimum": 1, "description": "Which page; the first by default."},
        },
        "required": ["document"],
    },
    examples=({"document": "title"},),
    purpose="open a document",
    trusted=True,
)

PAGE_CHARS = 4000


def open_call(document: str) -> ToolCalls:
    """The action that opens the first page of a document.

    >>> open_call("Danzig").calls[0].arguments
    {'document': 'Danzig'}
    """
    return ToolCalls((ToolCall(OPEN.name, {"document": document}),))


@dataclass(frozen=True, slots=True)
class Open:
    """Shows documents of a retriever that can give them: it has ``documents(ids)``.

    A document is named by title, id or URL, and only one that the episode's results have shown is opened.
    Pages have at most ``page_chars`` characters and end with a sentence. Raises SpecError for a retriever
    that cannot give documents, and ValueError for pages without a character.

    >>> from igpo_gym.episode import Question
    >>> from igpo_gym.search import BM25Index
    >>> tool = Open(BM25Index.build([Passage("1", "Danzig", "A port.")]))
    >>> episode = Episode(Question("q", "Where?", ("Danzig",)), ())
    >>> tool.run([(episode, ToolCall("open", {"document": "Danzig"}))])[0].text
    'Danzig: not seen in this episode. Search for it first.'
    """

    retriever: DocumentSource
    page_chars: int = PAGE_CHARS

    def __post_init__(self) -> None:
        size = self.page_chars
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"page_chars must be a whole number of at least 1, not {size!r}")
        if documents_of(self.retriever) is None:
            raise SpecError(
                "the tool open needs a retriever that can give documents, and "
                f"{type(self.retriever).__name__} has no documents(ids)"
                " (a search server needs a route /access for them)"
            )

    @property
    def spec(self) -> ToolSpec:
        """What the agent is told of it."""
        return OPEN

    def run(self, calls: Sequence[tuple[Episode, ToolCall]]) -> list[ToolResult]:
        """The page that each call asks for, or words that say why there is none."""
        named = [_seen(episode, call.arguments["document"]) for episode, call in calls]
        ids = list(dict.fromkeys(passage.id for passage in named if passage is not None))
        documents = dict(zip(ids, self.retriever.documents(ids), strict=True)) if ids else {}
        results = []
        for passage, (_, call) in zip(named, calls, strict=True):
            name, number = echoed(call.arguments["document"]), call.arguments.get("page", 1)
            if passage is None:
                results.append(ToolResult(f"{name}: not seen in this episode. Search for it first."))
            elif document := documents[passage.id]:
                results.append(page_of(document, number, self.page_chars))
            else:
                results.append(ToolResult(f"{name}: the document is not available."))
        return results


def page_chars(tools: Sequence[Tool]) -> int:
    """How long the pages are that these tools open; the usual length where none opens documents.

    >>> page_chars([])
    4000
    """
    return next((tool.page_chars for tool in tools if isinstance(tool, Open)), PAGE_CHARS)


def page_of(document: Sequence[Passage], number: int, page_chars: int = PAGE_CHARS) -> ToolResult:
    """A page of a document, from 1, or words that say that it has none of that number.

    >>> page_of([Passage("1", "Danzig", "A port.")], 1).text
    'Danzig (page 1 of 1)\\nA port.'
    """
    texts = [passage.text for passage in document]
    starts = list(accumulate((len(text) + 1 for text in texts), initial=0))
    pages = _pages("\n".join(texts), page_chars)
    title = document[0].title or document[0].id
    if number > len(pages):
        return ToolResult(f"{title} has {len(pages)} pages, and no page {number}.")
    start, page = pages[number - 1]
    stop = start + len(page)
    shown = tuple(
        passage
        for passage, first in zip(document, starts, strict=False)
        if first < stop and first + len(passage.text) > start
    )
    return ToolResult(f"{title} (page {number} of {len(pages)})\n{page.strip()}", (shown,))


def _seen(episode: Episode, name: str) -> Passage | None:
    """The passage that an earlier turn has shown under this id or title, the latest first."""
    wanted = _read(name)
    passages = [passage for turn in reversed(episode.turns) for passage in turn.passages]
    exact = (passage for passage in passages if wanted in (_read(passage.id), _read(passage.title)))
    folded = (passage for passage in passages if wanted.casefold() == _read(passage.title).casefold())
    return next(exact, None) or next(folded, None)


def _read(name: str) -> str:
    """An id or a title as an agent can tell it from others: it was shown neutralized."""
    return restored(neutralize(name)).strip()


def _pages(text: str, length: int) -> list[tuple[int, str]]:
    """The pages of a text, each with its place in it; they make up the text."""
    pages = []
    start = 0
    while True:
        page = cut_at_sentence(text[start : start + length + 1], length)
        pages.append((start, page))
        start += len(page)
        if start >= len(text):
            return pages
