"""A scorer for many callers: requests that come in at the same time are scored in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from types import TracebackType

from igpo_gym.batching import Batches
from igpo_gym.episode import Belief
from igpo_gym.errors import ScoringError
from igpo_gym.scorers.interface import AnswerScorer, BeliefRequest, ask, most_aliases


class BatchingScorer:
    """Joins the requests of concurrent callers (an ``AnswerScorer``), by :class:`~igpo_gym.batching.Batches`.

    Args:
        scorer: what gives the beliefs; only this front should call it.
        max_batch: requests in a batch, unless a single order has more.
        max_wait: seconds that an order waits for others at most; 0 takes what is there.
        max_orders: orders that may wait; a caller beyond that blocks until there is room.

    Use it as a context manager, or :meth:`close` it: orders that still wait then fail with ScoringError, as
    do later ones.

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
        self.batches: Batches[BeliefRequest, Belief] = Batches(
            partial(ask, scorer),
            size=max_batch,
            wait=max_wait,
            orders=max_orders,
            closed=_closed,
            name="igpo_gym-scorer",
        )

    @property
    def max_aliases(self) -> int | None:
        """Of how many aliases the scorer tells; None for all."""
        return most_aliases(self.scorer)

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        """One belief per request, in order; blocks until they are there."""
        return self.batches.place(requests).result()

    async def ascore(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        """As :meth:`score`, for coroutines: waits without blocking the event loop."""
        promise = await asyncio.to_thread(self.batches.place, requests)
        return await asyncio.wrap_future(promise)

    def close(self) -> None:
        """Finish the batch at work, fail what waits, and end the thread. Safe to call again."""
        self.batches.close()

    def __enter__(self) -> BatchingScorer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __deepcopy__(self, memo: object) -> BatchingScorer:
        """The front itself: Gymnasium copies an environment's arguments."""
        return self


def _closed() -> ScoringError:
    return ScoringError("the scorer is closed")
