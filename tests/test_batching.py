"""When a batch begins."""

from __future__ import annotations

import threading
from collections.abc import Sequence

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


def test_a_batch_waits_for_others_until_it_is_due_or_full() -> None:
    sizes: list[int] = []

    def answer(asked: Sequence[int]) -> Sequence[int]:
        sizes.append(len(asked))
        return asked

    with Batches(answer, size=4, wait=PATIENCE) as batches:
        assert gathers(batches)
        orders = [batches.place([number]) for number in range(4)]
        assert [each.result(PATIENCE) for each in orders] == [[0], [1], [2], [3]]
        left = batches.place([4])
    assert sizes in ([4], [4, 1])  # whether it is closed before the last is taken or after
    assert left.done()


def test_a_bounded_queue_that_is_full_is_a_batch() -> None:
    def answer(asked: Sequence[int]) -> Sequence[int]:
        return asked

    with Batches(answer, wait=PATIENCE, orders=2) as batches:
        assert gathers(batches)
        orders = [batches.place([number]) for number in range(2)]
        assert [each.result(PATIENCE) for each in orders] == [[0], [1]]


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
