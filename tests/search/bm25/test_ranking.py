"""Leaving sums out changes nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igpo_gym.search.bm25.ranking import Postings, every_sum, pruned


def postings(rng: np.random.Generator, passages: int, share: float, levels: int) -> Postings:
    """A word that this share of the passages has, with scores of so many levels: the fewer, the more ties."""
    numbers = np.sort(rng.choice(passages, max(1, int(share * passages)), replace=False)).astype(np.int32)
    scores = ((1 + rng.integers(0, levels, len(numbers))) * np.float32(rng.uniform(0.01, 3))).astype(
        np.float32
    )
    return Postings(numbers, scores, float(scores.max()))


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    passages=st.one_of(st.integers(1, 40), st.integers(1, 2000)),
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=12),
    query=st.lists(st.integers(0, 11), min_size=1, max_size=20),
    levels=st.integers(1, 100),
    k=st.integers(1, 30),
    parts=st.integers(1, 8),
)
def test_the_best_are_those_of_every_sum_to_the_last_bit(
    seed: int, passages: int, shares: list[float], query: list[int], levels: int, k: int, parts: int
) -> None:
    rng = np.random.default_rng(seed)
    words = [postings(rng, passages, share**4, levels) for share in shares]
    asked = [words[place % len(words)] for place in query]
    assert pruned(asked, passages, k, -(-passages // parts)) == every_sum(asked, passages, k)


@pytest.mark.parametrize("size", [1 << 12, 1 << 20])
def test_a_corpus_with_rare_and_frequent_words(size: int) -> None:
    rng = np.random.default_rng(1)
    words = [postings(rng, 50_000, 0.6 / (1 + place), 1000) for place in range(300)]
    for _ in range(60):
        query = [words[place] for place in (300 * rng.random(int(rng.integers(1, 13))) ** 2).astype(int)]
        assert pruned(query, 50_000, 10, size) == every_sum(query, 50_000, 10)


def test_threads_do_not_share_their_sums() -> None:
    rng = np.random.default_rng(2)
    words = [postings(rng, 20_000, 0.3 / (1 + place), 1000) for place in range(40)]
    queries = [[words[place] for place in rng.integers(0, 40, 6)] for _ in range(200)]
    expected = [every_sum(query, 20_000, 5) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda query: pruned(query, 20_000, 5), queries)) == expected


def test_a_query_that_was_interrupted_leaves_nothing_behind() -> None:
    rng = np.random.default_rng(3)
    words = [postings(rng, 5000, share, 50) for share in (0.1, 0.2, 0.3)]
    broken = Postings(words[2].numbers, np.zeros(1, np.float32), 1.0)
    with pytest.raises((ValueError, IndexError)):
        pruned([*words[:2], broken], 5000, 5)
    assert pruned(words, 5000, 5) == every_sum(words, 5000, 5)
