"""Servers that answer alike: requests are spread over them, and one that fails is left out for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

from igpo_gym.errors import AccessError, SearchError
from igpo_gym.transport import Server, ServerError

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Seconds that a server is left out after its first failure, and at most; each failure doubles them."""

REQUEST_AT_FAULT = (400, 413, 422)
"""The statuses that say nothing against the server, and that another would answer with too."""

DENIED = (401, 403)


@dataclass(slots=True, eq=False)
class _Replica:
    server: Server
    under_way: int = 0
    last: int = 0
    """The number of the request that it was given last."""
    failures: int = 0
    """How often it failed since it worked."""
    back: float = 0.0
    """When it is asked again, by the clock."""
    problem: str = ""
    """How it failed last."""


class Replicas:
    """One or more servers with the same content. Safe to use from many threads.

    A request goes to the server with the fewest under way. One that fails is left out for ``FIRST_PAUSE``
    seconds, then for 2, 4, ... times that, and its request goes to the next.
    """

    def __init__(self, servers: Sequence[Server], clock: Callable[[], float] = time.monotonic) -> None:
        self._replicas = [_Replica(server) for server in servers]
        self._clock = clock
        self._lock = Lock()
        self._requests = 0

    @property
    def servers(self) -> list[Server]:
        """All of them."""
        return [replica.server for replica in self._replicas]

    def post(
        self, path: str, body: object, max_bytes: int, read: Callable[[Any], T], hidden: Sequence[str] = ()
    ) -> T:
        """What ``read`` makes of the answer; it raises ValueError for one that is not right.

        Raises SearchError where no server gives a right answer, and AccessError where one refuses the key;
        neither repeats one of the ``hidden`` texts, whatever a server says.
        """
        tried: list[_Replica] = []
        problem = ""
        while (replica := self._next(tried)) is not None:
            tried.append(replica)
            try:
                answer = read(replica.server.post(path, body, max_bytes=max_bytes))
            except ServerError as failure:
                problem = failure.without(hidden)
                if failure.status in DENIED:
                    raise AccessError(problem) from None
                if failure.status in REQUEST_AT_FAULT:
                    raise SearchError(problem) from None
                self._failed(replica, problem)
            except ValueError as wrong:
                told = ServerError(f"{replica.server.url}{path} answered wrongly", words=str(wrong))
                problem = told.without(hidden)
                self._failed(replica, problem)
            else:
                replica.failures = 0
                return answer
            finally:
                with self._lock:
                    replica.under_way -= 1
        raise SearchError(problem or self._all_left_out())

    def _failed(self, replica: _Replica, problem: str) -> None:
        """Leave a server out for a while. Failures of requests that ran side by side count once."""
        with self._lock:
            now = self._clock()
            if now >= replica.back:
                replica.back = now + min(FIRST_PAUSE * 2.0 ** min(replica.failures, 30), LONGEST_PAUSE)
                replica.failures += 1
                replica.problem = problem

    def close(self) -> None:
        """Close the connections."""
        for server in self.servers:
            server.close()

    def _next(self, tried: Sequence[_Replica]) -> _Replica | None:
        with self._lock:
            now = self._clock()
            ready = [each for each in self._replicas if each not in tried and each.back <= now]
            if not ready:
                return None
            replica = min(ready, key=lambda each: (each.under_way, each.last))
            self._requests += 1
            replica.last = self._requests
            replica.under_way += 1
            return replica

    def _all_left_out(self) -> str:
        first = min(self._replicas, key=lambda replica: replica.back)
        wait = max(first.back - self._clock(), 0.0)
        return f"{first.problem} (a moment ago; {first.server.url} is asked again in {wait:.1f} seconds)"
