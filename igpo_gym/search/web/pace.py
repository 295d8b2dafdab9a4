"""A limit on requests a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pace:
    """Lets at most ``rate`` callers a second pass, evenly spaced, from any number of threads.

    ``None`` is no limit. ``clock`` tells seconds, and ``sleep`` waits for some.

    >>> waits = []
    >>> pace = Pace(4, clock=lambda: 0.0, sleep=waits.append)
    >>> for _ in range(3):
    ...     pace.wait()
    >>> waits
    [0.25, 0.5]
    """

    def __init__(
        self,
        rate: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._gap = 1 / rate if rate else 0.0
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._free = float("-inf")

    def wait(self) -> None:
        """Return when the caller may go on."""
        if not self._gap:
            return
        with self._lock:
            now = self._clock()
            start = max(now, self._free)
            self._free = start + self._gap
        if start > now:
            self._sleep(start - now)
