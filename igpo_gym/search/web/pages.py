"""Whole web pages as documents: what the tool ``open`` reads behind a web search."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias, TypeVar
from urllib.robotparser import RobotFileParser

from igpo_gym.episode import Passage
from igpo_gym.search.web.addresses import PageError, target
from igpo_gym.search.web.blocking import Blocklist
from igpo_gym.search.web.fetching import AGENT, PageLimits, fetch
from igpo_gym.search.web.reading import decoded, library, pieces, read
from igpo_gym.text import without_credentials
from igpo_gym.transport import parallel

logger = logging.getLogger(__name__)

KEPT_PAGES = 128
"""Pages in memory, those that were asked for last: the second page of a document is not fetched again."""
KEPT_SITES = 1024
"""Sites whose robots.txt is in memory."""
ROBOTS_SECONDS = 5.0
"""How long a site's robots.txt may take."""

Document: TypeAlias = tuple[Passage, ...]
T = TypeVar("T")


class PageReader:
    """Gives pages by their URLs (a ``DocumentSource``), up to ``concurrency`` of them at a time.

    A document is the main text of a page, as passages whose id is the URL. It is empty for a page that cannot
    be read, whatever the reason: its address is not public, its domain is ``blocked``, its robots.txt
    forbids it (with ``robots``), it is no HTML or plain text, or it is beyond the ``limits``. The reason is
    logged at level INFO. Safe to use from many threads.

    >>> PageReader().documents(["http://127.0.0.1/admin", "Danzig"])
    [(), ()]
    """

    def __init__(
        self,
        limits: PageLimits | None = None,
        blocked: Blocklist | None = None,
        *,
        robots: bool = True,
        concurrency: int = 8,
    ) -> None:
        self._limits = limits or PageLimits()
        self._blocked = blocked or Blocklist()
        self._robots = robots
        self._concurrency = concurrency
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Document] = OrderedDict()
        self._sites: OrderedDict[str, RobotFileParser] = OrderedDict()
        self.read = 0
        """Pages that were fetched and read."""
        self.unread = 0
        """Pages that could not be, each time they were asked for."""

    def documents(self, ids: Sequence[str]) -> list[Document]:
        """The document of each URL. Raises MissingExtraError without trafilatura."""
        library()
        return parallel(self._document, ids, self._concurrency)

    def _document(self, url: str) -> Document:
        with self._lock:
            if url in self._kept:
                self._kept.move_to_end(url)
                return self._kept[url]
        try:
            title, text = read(fetch(url, self._limits, self._check))
        except (PageError, ValueError) as reason:  # the second for URLs that only some parsers take
            logger.info("%r is not read: %s", without_credentials(url), reason)
            with self._lock:
                self.unread += 1
            return ()
        document = tuple([Passage(url, title, piece) for piece in pieces(text)])
        with self._lock:
            self.read += 1
            _keep(self._kept, url, document, KEPT_PAGES)
        return document

    def _check(self, url: str) -> None:
        """Raise PageError for a URL whose domain is blocked, or whose site does not want it read."""
        if url in self._blocked:
            raise PageError("its domain is blocked")
        if self._robots and not self._rules(url).can_fetch(AGENT, url):
            raise PageError("its site's robots.txt forbids it")

    def _rules(self, url: str) -> RobotFileParser:
        """The robots.txt of a URL's site, fetched once."""
        origin = target(url, self._limits.ports).origin
        with self._lock:
            if origin in self._sites:
                return self._sites[origin]
        rules = _robots(f"{origin}/robots.txt", self._limits, self._blocked)
        with self._lock:
            _keep(self._sites, origin, rules, KEPT_SITES)
        return rules


def _robots(url: str, limits: PageLimits, blocked: Blocklist) -> RobotFileParser:
    """What a robots.txt says. As RFC 9309 has it, all is allowed where there is none, and nothing where its
    server fails, or sends what cannot be read: PageError is raised then.
    """

    def check(place: str) -> None:
        if place in blocked:
            raise PageError("its domain is blocked")

    rules = RobotFileParser()
    try:
        limits = replace(limits, seconds=min(limits.seconds, ROBOTS_SECONDS), kinds=())
        # For Python's parser a blank line ends a group.
        lines = [line for line in decoded(fetch(url, limits, check)).splitlines() if line.strip()]
    except PageError as reason:
        if reason.status is None or not 400 <= reason.status < 500:
            raise PageError(f"its site's robots.txt cannot be read: {reason}") from None
        lines = []
    rules.parse(lines)
    return rules


def _keep(table: OrderedDict[str, T], key: str, value: T, most: int) -> None:
    table[key] = value
    while len(table) > most:
        table.popitem(last=False)
