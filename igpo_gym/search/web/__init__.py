"""Web search: engines as retrievers, and a reader of their pages."""

from __future__ import annotations

from functools import partial

from igpo_gym.search.web.pages import PageReader
from igpo_gym.search.web.retriever import WebSearch

__all__ = ["PageReader", "WebSearch", "searxng", "serper", "tavily"]

serper = partial(WebSearch, "serper")
"""What the spec ``serper`` calls."""

tavily = partial(WebSearch, "tavily")
"""What the spec ``tavily`` calls."""

searxng = partial(WebSearch, "searxng")
"""What the spec ``searxng`` calls."""
