"""Searches of many callers, joined: what arrives while one runs is searched together in the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from igpo_gym.episode import Passage
from igpo_gym.search.interface import Retriever

T = TypeVar("T")

JOINED_QUERIES = 256
"""How many queries are searched together at most, so that nobody waits long for others."""


class FullError(Exception):
    """As many requests wait as may."""


@dataclass(frozen=True, slots=True)
class _Asked:
    queries: Sequence[str]
    k: int
    found: asyncio.Future[list[list[Passage]]]


class Joined:
    """A retriever for the callers of one event loop, which it never blocks: it searches in one thread.

    Requests for the same ``k`` are joined, in the order of their arrival. One that fails beside others is
    searched alone, so that none fails for another's query. At most ``waiting`` requests wait.

    The loop itself gathers what is searched next: the thread of :class:`igpo_gym.batching.Batches` would take
    the interpreter from it amid a crowd, which costs 16 clients four times the latency at the 99th percentile
    (``benchmarks/search_server.py``).

    >>> from igpo_gym.search import BM25Index
    >>> async def ask():
    ...     joined = Joined(BM25Index.build([Passage("1", "Danzig", "A port.")]), waiting=100)
    ...     found = await asyncio.gather(joined.search(["port"], 1), joined.search(["river", "Danzig"], 1))
    ...     joined.close()
    ...     return found
    >>> asyncio.run(ask())
    [[[Passage(id='1', title='Danzig', text='A port.', score=...)]], [[], [Passage(id='1', ...)]]]
    """

    def __init__(self, retriever: Retriever, waiting: int) -> None:
        self._retriever = retriever
        self._most = waiting
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="igpo-gym-index")
        self._asked: deque[_Asked] = deque()
        self._searching: asyncio.Task[None] | None = None
        self._calls = 0

    def __len__(self) -> int:
        """How many requests wait."""
        return len(self._asked) + self._calls

    async def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """For each query at most ``k`` passages. Raises FullError, and what the retriever raises."""
        if len(self) >= self._most:
            raise FullError
        asked = _Asked(queries, k, asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        if self._searching is None:
            self._searching = asyncio.create_task(self._search())
        try:
            return await asked.found
        except asyncio.CancelledError:
            with suppress(ValueError):  # it is searched for already
                self._asked.remove(asked)
            raise

    async def run(self, call: Callable[[], T]) -> T:
        """What ``call`` returns, in the retriever's thread. Raises FullError, and what it raises."""
        if len(self) >= self._most:
            raise FullError
        self._calls += 1
        try:
            return await self._in_thread(call)
        finally:
            self._calls -= 1

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def _search(self) -> None:
        """Search until nobody waits."""
        try:
            while self._asked:
                joined = self._taken()
                if not await self._answered(joined):
                    for each in joined:
                        await self._answered([each])
        finally:
            self._searching = None

    def _taken(self) -> list[_Asked]:
        """The oldest request, and those for the same ``k`` behind it as far as they fit; given up ones go."""
        taken: list[_Asked] = []
        left: list[_Asked] = []
        room = JOINED_QUERIES
        while self._asked and room > 0:
            each = self._asked.popleft()
            if each.found.done():  # its caller is gone
                continue
            if taken and (each.k != taken[0].k or len(each.queries) > room):
                left.append(each)
                continue
            taken.append(each)
            room -= len(each.queries)
        self._asked.extendleft(reversed(left))
        return taken

    async def _answered(self, joined: Sequence[_Asked]) -> bool:
        """Search, and answer. False where that failed for several; who asked alone is told the failure."""
        if not joined:
            return True
        queries = list(dict.fromkeys(query for each in joined for query in each.queries))
        try:
            results = await self._in_thread(lambda: self._retriever.search(queries, joined[0].k))
            found = dict(zip(queries, results, strict=True))
        except Exception as problem:  # any failure is that of the callers, who wait for it
            if len(joined) > 1:
                return False
            if not joined[0].found.done():
                joined[0].found.set_exception(problem)
            return True
        for each in joined:
            if not each.found.done():
                each.found.set_result([found[query] for query in each.queries])
        return True
