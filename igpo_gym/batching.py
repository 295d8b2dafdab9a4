"""What many ask at the same time, joined into one call: for threads and for coroutines alike.

Third-party trainers step hundreds of episodes from threads or coroutines, each asking for one thing at a
time. Behind this they share calls as the episodes of a vector environment do.
"""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any, Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, slots=True, eq=False)
class _Order(Generic[A, B]):
    """What one caller asks, and the promise of the answers."""

    asked: Sequence[A]
    promise: Future[list[B]] = field(default_factory=Future)
    placed: float = field(default_factory=time.monotonic)
    """When it came."""


class Batches(Generic[A, B]):
    """Joins what concurrent callers ask into batches.

    One thread of its own calls ``answer``. While it is busy, new orders gather, and all of them make the next
    batch: a lone caller waits for nobody, and a crowd is served together. An order is never split, and one
    that is canceled before its batch begins is never asked.

    Args:
        answer: gives an answer for each thing that is asked, in order; only this should call it.
        size: how many things a batch holds, unless a single order has more.
        wait: seconds that an order waits for others at most; 0 takes what is there.
        orders: how many orders may wait, a caller beyond that blocks until there is room; 0 for any number.
        closed: what callers are told when it is closed.
        name: that of the thread.

    When a batch fails, its orders are asked one by one, so an error reaches the caller whose order caused it
    and nobody else. Use it as a context manager, or :meth:`close` it: orders that still wait then fail with
    ``closed``, as do later ones. The thread of one that nobody holds any more ends by itself, as if closed.
    A process that is forked has a thread of its own, and none of the orders that waited.

    >>> with Batches(lambda numbers: [2 * number for number in numbers]) as doubled:
    ...     doubled.place([1, 2]).result()
    [2, 4]
    """

    def __init__(
        self,
        answer: Callable[[Sequence[A]], Sequence[B]],
        *,
        size: int = 256,
        wait: float = 0.0,
        orders: int = 0,
        closed: Callable[[], Exception] = lambda: RuntimeError("it is closed"),
        name: str = "igpo_gym-batches",
    ) -> None:
        self._made = partial(_Service, answer, size, wait, orders, closed)
        self._name = name
        self._begin()
        _ALL.add(self)

    def _begin(self) -> None:
        self._service: _Service[A, B] = self._made()
        self._worker = threading.Thread(target=self._service.run, name=self._name, daemon=True)
        self._worker.start()
        weakref.finalize(self, self._service.closing.set)

    def place(self, asked: Sequence[A]) -> Future[list[B]]:
        """Hand an order in; its answers come in order. Raises ``closed`` where there is nobody to answer."""
        return self._service.place(asked)

    @property
    def waiting(self) -> int:
        """How many orders wait for their batch to begin."""
        return len(self._service.orders)

    @property
    def alive(self) -> bool:
        """Whether the thread is at work."""
        return self._worker.is_alive()

    def stop(self) -> None:
        """Take no more orders, and fail those that wait, at once; the batch at work is finished."""
        self._service.close()

    def close(self) -> None:
        """:meth:`stop`, and wait until the batch at work is finished. Safe to call again."""
        self.stop()
        self._worker.join()

    def __enter__(self) -> Batches[A, B]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_ALL: weakref.WeakSet[Batches[Any, Any]] = weakref.WeakSet()


def _begin_in_child() -> None:
    """No thread but the one that forked lives on in the child, and any lock may be held for ever there."""
    for batches in list(_ALL):
        closed = batches._service.closing.is_set()
        batches._begin()
        if closed:
            batches._service.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)


@dataclass(slots=True, eq=False)
class _Service(Generic[A, B]):
    """What the thread works with. It does not know the :class:`Batches`, which could else never go."""

    answer: Callable[[Sequence[A]], Sequence[B]]
    size: int
    wait: float
    most: int
    closed: Callable[[], Exception]
    closing: threading.Event = field(default_factory=threading.Event)
    orders: deque[_Order[A, B]] = field(default_factory=deque)
    count: int = 0
    """How many things the orders ask."""
    changed: threading.Condition = field(default_factory=threading.Condition)
    """Its lock guards what is above and below."""
    gathering: bool = False
    """Whether the thread is free for the next batch."""

    def place(self, asked: Sequence[A]) -> Future[list[B]]:
        order: _Order[A, B] = _Order(asked)
        count = len(asked)
        with self.changed:
            while self.full and not self.closing.is_set():
                self.changed.wait(_POLL)
            if self.closing.is_set():
                raise self.closed()
            self.orders.append(order)
            self.count += count
            # Orders between wake nobody: a thread that wakes waits until another lets the interpreter go.
            if len(self.orders) == 1 or self.count >= self.size or self.full:
                self.changed.notify_all()
            elif self.gathering and order.placed > self.orders[0].placed + self.wait:
                # The batch is due, but whoever places orders might keep the interpreter from the thread.
                self.changed.wait(_POLL)
        return order.promise

    @property
    def full(self) -> bool:
        return 0 < self.most <= len(self.orders)

    def run(self) -> None:
        """Serve orders until it is closed."""
        while not self.closing.is_set():
            # Nothing here may keep an answered order: through its promise it holds whoever waited for it.
            self._fulfil([order for order in self._gather() if order.promise.set_running_or_notify_cancel()])
        self.fail_waiting()

    def _gather(self) -> list[_Order[A, B]]:
        """The orders of the next batch; none when a moment passed without any."""
        with self.changed:
            self.gathering = True
            if not self.changed.wait_for(lambda: self.orders, _POLL):
                return []
            due = self.orders[0].placed + self.wait
            while not (self.count >= self.size or self.full or self.closing.is_set()):
                if (left := due - time.monotonic()) <= 0:
                    break
                self.changed.wait(min(left, _POLL))
            self.gathering = False
            return [] if self.closing.is_set() else self._take(self.size)

    def _take(self, size: float) -> list[_Order[A, B]]:
        """The first orders, until they ask so many things; the lock is held."""
        taken: list[_Order[A, B]] = []
        count = 0
        while self.orders and count < size:
            taken.append(self.orders.popleft())
            count += len(taken[-1].asked)
        self.count -= count
        self.changed.notify_all()
        return taken

    def _fulfil(self, batch: list[_Order[A, B]]) -> None:
        asked = [each for order in batch for each in order.asked]
        try:
            answers = self.answer(asked) if asked else []
            if len(answers) != len(asked):
                raise RuntimeError(f"{len(answers)} answers to {len(asked)} questions")
        except BaseException as error:  # whatever it is, nobody may wait for ever
            if len(batch) == 1:
                batch[0].promise.set_exception(_as_held(error))
            else:
                for order in batch:
                    self._fulfil([order])
            return
        shares = iter(answers)
        for order in batch:
            order.promise.set_result(list(islice(shares, len(order.asked))))

    def close(self) -> None:
        """Take no more orders, and fail those that wait."""
        self.closing.set()
        self.fail_waiting()

    def fail_waiting(self) -> None:
        with self.changed:
            left = self._take(math.inf)
        for order in left:
            if order.promise.set_running_or_notify_cancel():
                order.promise.set_exception(self.closed())


def _as_held(error: BaseException) -> BaseException:
    """The error as a promise can hold it: asyncio lets whoever awaits a StopIteration wait for ever."""
    if not isinstance(error, StopIteration):
        return error
    raised = RuntimeError("a StopIteration was raised, which no promise can hold")
    raised.__cause__ = error
    return raised


_POLL = 0.1
"""Seconds between two looks at whether it is closing."""
