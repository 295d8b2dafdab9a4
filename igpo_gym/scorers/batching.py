"""A front for many callers: requests that come in at the same time are scored in one call.

Third-party trainers step hundreds of single environments from threads or coroutines, each asking for one
belief at a time. Behind this front they share forward passes as the vector environment does.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from types import TracebackType

from igpo_gym.episode import Belief
from igpo_gym.errors import ScoringError
from igpo_gym.scorers.interface import AnswerScorer, BeliefRequest, ask, most_aliases


@dataclass(frozen=True, slots=True, eq=False)
class _Order:
    """One caller's requests, and the promise of their beliefs."""

    requests: Sequence[BeliefRequest]
    promise: Future[list[Belief]] = field(default_factory=Future)


class BatchingScorer:
    """Joins the requests of concurrent callers into batches (an ``AnswerScorer``).

    One thread of its own calls ``scorer``. While it is busy, new orders gather, and all of them make the next
    batch: a lone caller waits for nobody, and a crowd is served together. An order is never split.

    Args:
        scorer: what gives the beliefs; only this front should call it.
        max_batch: requests in a batch, unless a single order has more.
        max_wait: seconds to wait for more orders once one has come; 0 takes what is there.
        max_orders: orders that may wait; a caller beyond that blocks until there is room.

    When a batch fails, its orders are scored one by one, so an error reaches the caller whose request caused
    it and nobody else. Use it as a context manager, or :meth:`close` it: orders that still wait then fail
    with ScoringError, as do later ones. The thread of a front that nobody holds any more ends by itself.

    >>> from igpo_gym.protocols import ANSWER_PROBE
    >>> class Sure:
    ...     def score(self, requests):
    ...         return [Belief((0.0,)) for _ in requests]
    >>> with BatchingScorer(Sure()) as front:
    ...     [belief.prob for belief in front.score([BeliefRequest((), ("Danzig",), ANSWER_PROBE)])]
    [1.0]
    """

    def __init__(
        self, scorer: AnswerScorer, *, max_batch: int = 256, max_wait: float = 0.0, max_orders: int = 1024
    ) -> None:
        for name, value in (("max_batch", max_batch), ("max_orders", max_orders)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if max_wait < 0:
            raise ValueError(f"max_wait must not be negative, not {max_wait}")
        self.scorer = scorer
        self._service = _Service(scorer, max_batch, max_wait, queue.Queue(max_orders))
        self._worker = threading.Thread(target=self._service.run, name="igpo_gym-scorer", daemon=True)
        self._worker.start()
        weakref.finalize(self, self._service.closing.set)

    @property
    def max_aliases(self) -> int | None:
        """Of how many aliases the scorer tells; None for all."""
        return most_aliases(self.scorer)

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        """One belief per request, in order; blocks until they are there."""
        return self._service.place(requests).result()

    async def ascore(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        """As :meth:`score`, for coroutines: waits without blocking the event loop."""
        promise = await asyncio.to_thread(self._service.place, requests)
        return await asyncio.wrap_future(promise)

    def close(self) -> None:
        """Finish the batch at work, fail what waits, and end the thread. Safe to call again."""
        self._service.closing.set()
        self._worker.join()
        self._service.fail_waiting()

    def __enter__(self) -> BatchingScorer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __deepcopy__(self, memo: object) -> BatchingScorer:
        """The front itself: Gymnasium copies an environment's arguments."""
        return self


@dataclass(frozen=True, slots=True, eq=False)
class _Service:
    """What the thread works with. It does not know the front, which would then never be dropped."""

    scorer: AnswerScorer
    max_batch: int
    max_wait: float
    orders: queue.Queue[_Order]
    closing: threading.Event = field(default_factory=threading.Event)

    def place(self, requests: Sequence[BeliefRequest]) -> Future[list[Belief]]:
        order = _Order(requests)
        while not self.closing.is_set():
            try:
                self.orders.put(order, timeout=_POLL)
            except queue.Full:
                continue
            if self.closing.is_set():  # it may have come in after the last look at the queue
                self.fail_waiting()
            return order.promise
        raise ScoringError("the scorer is closed")

    def run(self) -> None:
        """Serve orders until the front closes."""
        while not self.closing.is_set():
            batch = self._gather()
            if batch:
                self._fulfil([order for order in batch if order.promise.set_running_or_notify_cancel()])

    def _gather(self) -> list[_Order]:
        """The orders of the next batch; none when a moment passed without any."""
        try:
            batch = [self.orders.get(timeout=_POLL)]
        except queue.Empty:
            return []
        deadline = time.monotonic() + self.max_wait
        while sum(len(order.requests) for order in batch) < self.max_batch:
            try:
                batch.append(self.orders.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                break
        return batch

    def _fulfil(self, batch: list[_Order]) -> None:
        requests = [request for order in batch for request in order.requests]
        try:
            beliefs = ask(self.scorer, requests) if requests else []
        except BaseException as error:  # whatever it is, nobody may wait for ever
            if len(batch) == 1:
                batch[0].promise.set_exception(error)
            else:
                for order in batch:
                    self._fulfil([order])
            return
        shares = iter(beliefs)
        for order in batch:
            order.promise.set_result(list(islice(shares, len(order.requests))))

    def fail_waiting(self) -> None:
        while True:
            try:
                order = self.orders.get_nowait()
            except queue.Empty:
                return
            if order.promise.set_running_or_notify_cancel():
                order.promise.set_exception(ScoringError("the scorer is closed"))


_POLL = 0.1
"""Seconds between two looks at whether the front is closing."""
