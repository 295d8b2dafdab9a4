"""The prefix tree against a list of all sequences ever added."""

from __future__ import annotations

import gc
import weakref

import torch
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.lm.cache import KeyValueLayout, KeyValues, PrefixTree, TokenCount

sequences = st.lists(st.integers(0, 2), min_size=1, max_size=8)


class Written:
    """A store that holds the ids that were written to it; its size is one per id."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.capacity = self.size = 0

    def reserve(self, length: int) -> None:
        self.capacity = self.size = length

    def first(self, length: int) -> Written:
        shorter = Written()
        shorter.ids = self.ids[:length]
        shorter.reserve(length)
        return shorter


def add(tree: PrefixTree[Written], ids: list[int]) -> int:
    """Add a sequence as a scorer does; returns how many of its tokens were known."""
    node, known = tree.find(ids)
    past = [token for store, length in tree.past(node, known) for token in store.ids[:length]]
    assert past == ids[:known]
    if known < len(ids):
        node = tree.extend(node, known, ids[known:])
        node.store.ids += ids[known:]
    assert [token for store, length in tree.past(node, len(ids)) for token in store.ids[:length]] == ids
    return known


@given(st.lists(sequences, max_size=30))
def test_the_longest_known_prefix_is_found_and_held_once(added: list[list[int]]) -> None:
    tree = PrefixTree(Written)
    prefixes: set[tuple[int, ...]] = set()
    for ids in added:
        expected = max((n for n in range(len(ids) + 1) if tuple(ids[:n]) in prefixes), default=0)
        assert add(tree, ids) == expected
        prefixes |= {tuple(ids[:n]) for n in range(1, len(ids) + 1)}
        assert tree.size == len(prefixes)


@given(st.lists(st.tuples(sequences, st.integers(0, 20)), max_size=30))
def test_eviction_keeps_the_budget_and_the_truth(calls: list[tuple[list[int], int]]) -> None:
    tree = PrefixTree(Written)
    for ids, budget in calls:
        add(tree, ids)
        tree.evict(budget)
        assert tree.size <= budget
        assert tree.size == sum(node.store.size for node in tree._nodes)


def test_the_least_recently_used_goes_first() -> None:
    tree = PrefixTree(Written)
    for ids in ([1, 1, 1], [2, 2, 2], [3, 3, 3]):
        add(tree, ids)
    tree.find([1, 1, 1])
    tree.evict(6)
    assert [tree.find([first] * 3)[1] for first in (1, 2, 3)] == [3, 0, 3]


def test_the_beginning_of_a_transcript_is_forgotten_last() -> None:
    tree = PrefixTree(Written)
    for ids in ([1, 2, 3, 4, 5], [6, 7]):
        add(tree, ids)
    held = tree.past(*tree.find([1, 2, 3, 4, 5]))
    tree.find([6, 7])
    tree.evict(4)
    assert [tree.find(ids)[1] for ids in ([1, 2, 3, 4, 5], [6, 7])] == [2, 2]
    assert [(store.ids, length) for store, length in held] == [([1, 2, 3, 4, 5], 5)]
    assert add(tree, [1, 2, 9]) == 2  # it goes on where it was cut
    assert len(tree.past(*tree.find([1, 2, 9]))) == 1


def test_what_is_kept_stays_with_all_before_it() -> None:
    tree = PrefixTree(Written)
    for ids in ([1, 2, 3], [1, 2, 4], [5]):
        add(tree, ids)
    tree.evict(0, keep={tree.find([1, 2, 4])[0]})
    assert [tree.find(ids)[1] for ids in ([1, 2, 4], [5])] == [3, 0]


def test_what_is_forgotten_is_freed_at_once() -> None:
    tree = PrefixTree(Written)
    for ids in ([1, 2, 3], [1, 2, 4], [1, 5], [6]):
        add(tree, ids)
    stores = [weakref.ref(node.store) for node in tree._nodes]
    assert len(stores) == 4
    gc.disable()  # keys and values are too large to wait for it
    try:
        tree.evict(4)
        assert sum(store() is not None for store in stores) == 2
        tree.clear()
        assert all(store() is None for store in stores)
    finally:
        gc.enable()
    assert tree.find([1, 2, 3]) == (tree._root, 0)


def test_a_transcript_that_goes_on_stays_in_one_store() -> None:
    tree = PrefixTree(Written)
    for length in range(1, 6):
        add(tree, list(range(length)))
    assert len(tree.past(*tree.find(range(5)))) == 1


def test_a_tree_of_ids_alone_counts_tokens() -> None:
    tree = PrefixTree(TokenCount)
    for ids in ([1, 2, 3], [1, 2, 4]):
        node, known = tree.find(ids)
        tree.extend(node, known, ids[known:])
    assert tree.size == 4
    tree.clear()
    assert tree.size == 0
    assert tree.find([1, 2, 3])[1] == 0


def test_keys_and_values_survive_growth_and_a_cut() -> None:
    store = KeyValues(KeyValueLayout(2, 3, 4, torch.float32, torch.device("cpu")))
    key, value = torch.randn(2, 1, 3, 10, 4), torch.randn(2, 1, 3, 10, 4)
    for start, stop in ((0, 2), (2, 3), (3, 10)):
        store.reserve(stop)
        for layer in (0, 1):
            store.write(layer, start, key[layer][:, :, start:stop], value[layer][:, :, start:stop])
    for layer in (0, 1):
        got_key, got_value = store.read(layer, 9)
        assert torch.equal(got_key, key[layer][:, :, :9])
        assert torch.equal(got_value, value[layer][:, :, :9])
    assert store.size == 2 * 2 * 3 * 10 * 4 * 4
    shorter = store.first(4)
    assert torch.equal(shorter.read(1, 4)[0], key[1][:, :, :4])
    assert (shorter.capacity, shorter.size * 10) == (4, store.size * 4)
    shorter.write(1, 0, -key[1][:, :, :4], value[1][:, :, :4])
    assert torch.equal(store.read(1, 4)[0], key[1][:, :, :4])
