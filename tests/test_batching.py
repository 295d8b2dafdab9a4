"""When a batch begins, and that no order is lost."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest

from igpo_gym.batching import Batches

PATIENCE = 60.0


def gathers(batches: Batches[int, int]) -> bool:
    """Wait until the thread is free for the next batch."""
    done, free = threading.Event(), threading.Event()

    def look() -> None:
        while not done.wait(0.001):
            if batches._service.gathering:
                free.set()
                return

    watcher = threading.Thread(target=look)
    watcher.start()
    found = free.wait(PATIENCE)
    done.set()
    watcher.join()
    return found


def test_who_places_orders_without_a_pause_does_not_hold_up_a_batch_that_is_due() -> None:
    gate, sizes = threading.Event(), []

    def answer(asked: Sequence[int]) -> Sequence[int]:
        sizes.append(len(asked))
        assert gate.wait(PATIENCE)
        return asked

    with Batches(answer) as batches:
        assert gathers(batches)
        first, second = batches.place([1]), batches.place([2])
        assert not first.cancel(), "the batch was due when the second order came, and has not begun"
        later = [batches.place([number]) for number in range(3, 9)]
        gate.set()
        assert [each.result(PATIENCE) for each in (first, second, *later)] == [[n] for n in range(1, 9)]
    assert sizes[-1] >= 6
    assert sum(sizes) == 8


@pytest.mark.parametrize("bound", [{"size": 4}, {"orders": 4}], ids=str)
def test_a_batch_waits_for_others_until_it_is_full(bound: dict[str, int]) -> None:
    """It would be due long after the test has given up."""
    sizes: list[int] = []

    def answer(asked: Sequence[int]) -> Sequence[int]:
        sizes.append(len(asked))
        return asked

    with Batches(answer, wait=10 * PATIENCE, **bound) as batches:
        assert gathers(batches)
        orders = [batches.place([number]) for number in range(3)]
        assert not wait(orders, timeout=0.3).done
        orders.append(batches.place([3]))
        assert [each.result(PATIENCE) for each in orders] == [[0], [1], [2], [3]]
        assert sizes == [4]
        left = batches.place([4])
    with pytest.raises(RuntimeError, match="it is closed"):
        left.result(0)


def test_who_places_more_orders_than_there_is_room_for_waits_and_none_is_lost() -> None:
    def answer(asked: Sequence[int]) -> Sequence[int]:
        return [2 * number for number in asked]

    with Batches(answer, size=3, orders=2) as batches, ThreadPoolExecutor(8) as pool:
        placed = list(pool.map(lambda number: batches.place([number]), range(200)))
        assert [each.result(PATIENCE) for each in placed] == [[2 * number] for number in range(200)]
    assert batches.waiting == 0


def test_what_cannot_be_asked_or_answered_is_its_callers_error_alone() -> None:
    def answer(asked: Sequence[int]) -> Sequence[int]:
        return [number for number in asked if number != 13]

    unsized: Any = iter([1])
    with Batches(answer) as batches:
        with pytest.raises(TypeError):
            batches.place(unsized)
        with pytest.raises(RuntimeError, match="0 answers to 1 questions"):
            batches.place([13]).result(PATIENCE)
        assert batches.place([2]).result(PATIENCE) == [2]


def test_a_stop_iteration_reaches_who_awaits_it() -> None:
    """asyncio takes one for the end of a coroutine, and lets whoever awaits the promise wait for ever."""

    def answer(asked: Sequence[int]) -> Sequence[int]:
        return [next(iter([]))]

    async def ask(batches: Batches[int, int]) -> None:
        await asyncio.wait_for(asyncio.wrap_future(batches.place([1])), PATIENCE)

    with Batches(answer) as batches, pytest.raises(RuntimeError, match="StopIteration") as told:
        asyncio.run(ask(batches))
    assert isinstance(told.value.__cause__, StopIteration)


def test_orders_of_one_that_nobody_holds_any_more_are_told() -> None:
    busy, gate = threading.Event(), threading.Event()

    def answer(asked: Sequence[int]) -> Sequence[int]:
        busy.set()
        assert gate.wait(PATIENCE)
        return asked

    batches = Batches(answer)
    first = batches.place([1])
    assert busy.wait(PATIENCE)
    second = batches.place([2])
    del batches
    gate.set()
    assert first.result(PATIENCE) == [1]
    with pytest.raises(RuntimeError, match="it is closed"):
        second.result(PATIENCE)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_process_is_answered_whatever_the_threads_of_its_parent_were_at() -> None:
    context = multiprocessing.get_context("fork")
    busy, gate, heard = threading.Event(), threading.Event(), context.Queue()
    parent = os.getpid()

    def answer(asked: Sequence[int]) -> Sequence[int]:
        if os.getpid() == parent:
            busy.set()
            assert gate.wait(PATIENCE)
        return [10 * number for number in asked]

    def ask() -> None:
        found = batches.place([7]).result(PATIENCE)
        batches.close()
        try:
            shut.place([1])
        except RuntimeError as problem:
            heard.put((found, batches.waiting, str(problem)))

    with Batches(answer) as batches, Batches(answer) as shut:
        shut.close()
        first = batches.place([1])
        assert busy.wait(PATIENCE)
        second = batches.place([2])
        with batches._service.changed:  # as by a thread that places an order
            child = context.Process(target=ask, daemon=True)
            child.start()
        assert heard.get(timeout=PATIENCE) == ([70], 0, "it is closed")
        gate.set()
        assert first.result(PATIENCE) + second.result(PATIENCE) == [10, 20]
