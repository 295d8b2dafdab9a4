"""FRAMES (Krishna et al., 2024, arXiv 2409.12941): 824 questions over several Wikipedia pages each.

A table with tabs: an unnamed index (older copies), ``Prompt, Answer, wikipedia_link_1, ...,
wikipedia_link_11+, reasoning_types, wiki_links``, the last a list as Python writes it. The evidence is the
titles of the linked pages, and hops is their number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from igpo_gym.data.files import literal
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.reading import GatheredPassages, read_set
from igpo_gym.data.rows import Row
from igpo_gym.episode import Question


def load_frames(path: str | Path) -> QuestionSet:
    """The questions of a FRAMES file. DataError, with the line, for what is not one."""
    return read_set("frames", path, question)


def question(row: Row, corpus: GatheredPassages) -> Question:
    """A record's question. Its id is the index, or the line number."""
    links: Any = row.field("wiki_links")
    if isinstance(links, str):
        links = literal(links)
    if not isinstance(links, list) or not all(isinstance(link, str) for link in links):
        raise ValueError("'wiki_links' must be a list of URLs, as Python writes it")
    titles = tuple(dict.fromkeys(title for link in links if (title := page_title(link))))
    id_, text, answers = row.id("", "Unnamed: 0"), row.text("Prompt"), row.answers("Answer")
    return Question(id_, text, answers, titles, len(titles) or None, "frames")


def page_title(url: str) -> str:
    """The title of the Wikipedia page that a URL leads to; empty where it leads to none.

    >>> page_title("https://en.wikipedia.org/wiki/Gda%C5%84sk_Shipyard#History")
    'Gdańsk Shipyard'
    """
    _, found, name = urlsplit(url.strip()).path.partition("/wiki/")
    return unquote(name).replace("_", " ").strip() if found else ""
