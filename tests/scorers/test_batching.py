from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from igpo_gym.episode import Belief, Segment
from igpo_gym.errors import ScoringError
from igpo_gym.protocols import ANSWER_PROBE
from igpo_gym.scorers.batching import BatchingScorer
from igpo_gym.scorers.interface import BeliefRequest
from tests.conftest import MentionScorer

PATIENCE = 30.0
"""Seconds after which a test that hangs fails; no test waits that long."""


def request(mentions: int) -> BeliefRequest:
    return BeliefRequest((Segment("environment", "user", "A" * mentions),), ("A",), ANSWER_PROBE)


def expected(mentions: int) -> Belief:
    return MentionScorer().score([request(mentions)])[0]


class GatedScorer(MentionScorer):
    """A scorer whose first call waits until the test opens the gate, so that orders gather behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.busy, self.gate = threading.Event(), threading.Event()

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        if any(len(each.segments[0].text) == 13 for each in requests):
            self.calls.append(len(requests))
            raise ScoringError("thirteen is too long")
        beliefs = super().score(requests)
        self.busy.set()
        assert self.gate.wait(PATIENCE)
        return beliefs


@pytest.fixture
def gated() -> GatedScorer:
    return GatedScorer()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as threads:
        yield threads


def queued(front: BatchingScorer, count: int) -> None:
    """Wait until ``count`` orders are in the queue."""
    done = threading.Event()

    def look() -> None:
        while front.batches.waiting < count and not done.wait(0.001):
            pass

    watcher = threading.Thread(target=look)
    watcher.start()
    watcher.join(PATIENCE)
    done.set()
    assert front.batches.waiting >= count


def test_a_lone_caller_is_served_at_once() -> None:
    scorer = MentionScorer()
    with BatchingScorer(scorer) as front:
        assert front.score([request(1), request(2)]) == [expected(1), expected(2)]
        assert front.score([]) == []
    assert scorer.calls == [2]


def test_orders_that_gather_are_one_batch(gated: GatedScorer, pool: ThreadPoolExecutor) -> None:
    with BatchingScorer(gated) as front:
        first = pool.submit(front.score, [request(1)])
        assert gated.busy.wait(PATIENCE)
        rest = [pool.submit(front.score, [request(number)] * 2) for number in range(2, 12)]
        queued(front, 10)
        gated.gate.set()
        assert first.result(PATIENCE) == [expected(1)]
        for number, order in enumerate(rest, 2):
            assert order.result(PATIENCE) == [expected(number)] * 2
    assert gated.calls == [1, 20]


def test_a_batch_is_bounded_but_an_order_is_whole(gated: GatedScorer, pool: ThreadPoolExecutor) -> None:
    with BatchingScorer(gated, max_batch=3) as front:
        first = pool.submit(front.score, [request(1)] * 5)
        assert gated.busy.wait(PATIENCE)
        rest = [pool.submit(front.score, [request(2)] * 2) for _ in range(4)]
        queued(front, 4)
        gated.gate.set()
        assert len(first.result(PATIENCE)) == 5
        assert [len(order.result(PATIENCE)) for order in rest] == [2] * 4
    assert gated.calls == [5, 4, 4]


def test_an_error_reaches_its_own_caller_only(gated: GatedScorer, pool: ThreadPoolExecutor) -> None:
    with BatchingScorer(gated) as front:
        first = pool.submit(front.score, [request(1)])
        assert gated.busy.wait(PATIENCE)
        good, bad = (pool.submit(front.score, [request(number)]) for number in (2, 13))
        queued(front, 2)
        gated.gate.set()
        assert first.result(PATIENCE) == [expected(1)]
        assert good.result(PATIENCE) == [expected(2)]
        with pytest.raises(ScoringError, match="thirteen"):
            bad.result(PATIENCE)
        assert front.score([request(3)]) == [expected(3)]


def test_a_scorer_that_drops_beliefs_is_an_error() -> None:
    class Short(MentionScorer):
        def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
            return super().score(requests)[1:]

    with BatchingScorer(Short()) as front, pytest.raises(ScoringError, match="0 beliefs for 1 requests"):
        front.score([request(1)])


def test_coroutines_share_batches_and_may_be_cancelled(gated: GatedScorer) -> None:
    async def crowd(front: BatchingScorer) -> list[list[Belief]]:
        first = asyncio.create_task(front.ascore([request(1)]))
        assert await asyncio.to_thread(gated.busy.wait, PATIENCE)
        rest = [asyncio.create_task(front.ascore([request(number)])) for number in range(2, 6)]
        await asyncio.to_thread(queued, front, 4)
        rest[0].cancel()
        await asyncio.wait([rest[0]])
        gated.gate.set()
        return await asyncio.gather(first, *rest[1:])

    with BatchingScorer(gated) as front:
        beliefs = asyncio.run(crowd(front))
    assert beliefs == [[expected(number)] for number in (1, 3, 4, 5)]
    assert gated.calls == [1, 3]


def test_a_full_queue_makes_callers_wait(gated: GatedScorer, pool: ThreadPoolExecutor) -> None:
    with BatchingScorer(gated, max_orders=2) as front:
        orders = [pool.submit(front.score, [request(number)]) for number in range(20, 49)]
        assert gated.busy.wait(PATIENCE)
        queued(front, 2)
        assert front.batches.waiting == 2
        gated.gate.set()
        assert [order.result(PATIENCE) for order in orders] == [[expected(n)] for n in range(20, 49)]


def test_closing_fails_what_waits_and_finishes_what_is_at_work(
    gated: GatedScorer, pool: ThreadPoolExecutor
) -> None:
    front = BatchingScorer(gated, max_orders=2)
    first = pool.submit(front.score, [request(1)])
    assert gated.busy.wait(PATIENCE)
    waiting = [pool.submit(front.score, [request(2)]) for _ in range(6)]
    queued(front, 2)
    closing = pool.submit(front.close)
    assert front.batches._service.closing.wait(PATIENCE)
    gated.gate.set()
    closing.result(PATIENCE)
    assert first.result(PATIENCE) == [expected(1)]
    for order in waiting:
        with pytest.raises((ScoringError, CancelledError), match="closed"):
            order.result(PATIENCE)
    with pytest.raises(ScoringError, match="closed"):
        front.score([request(1)])
    front.close()
    assert not front.batches.alive


def test_a_front_that_nobody_holds_ends_its_thread_and_lets_its_scorer_go() -> None:
    scorer = MentionScorer()
    front = BatchingScorer(scorer)
    front.score([request(1)])
    worker, alive = front.batches._worker, weakref.ref(scorer)
    del front, scorer
    worker.join(PATIENCE)
    assert not worker.is_alive()
    assert alive() is None


@pytest.mark.parametrize("setting", [{"max_batch": 0}, {"max_orders": 0}, {"max_wait": -1.0}])
def test_impossible_settings_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        BatchingScorer(MentionScorer(), **setting)  # type: ignore[arg-type]
