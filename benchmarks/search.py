"""How fast BM25Index is, beside bm25s's own ``retrieve`` (numpy) on the same corpus in the same run.

    python benchmarks/search.py            # 10,000 and 100,000 passages, under a minute
    python benchmarks/search.py --full     # and a million: about five minutes, 4 GB of memory

Passages of 60 words drawn from a Zipf law; queries of six content words (drawn from the same law, without the
30 most frequent words); k = 5. Queries are timed one by one, the two engines in turn, with what each needs to
go from the text of a query to passages or their numbers. All times are CPU time. Prints one JSON object: the
medians, their ratio, the share of queries on which both give the same scores, build (with the drawing of the
corpus) and load seconds, and the process's peak memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import bm25s
import numpy as np

from igpo_gym.episode import Passage
from igpo_gym.search.bm25 import BM25Index, words

VOCABULARY, FREQUENT, PASSAGE_WORDS, QUERY_WORDS, K = 200_000, 30, 60, 6, 5


CUMULATIVE = np.cumsum(1 / np.arange(1, VOCABULARY + 1))
"""The Zipf law, not normalized: how much weight the words up to each one have."""


def drawn(rng: np.random.Generator, first: int, size: int) -> str:
    """So many words from number ``first`` on."""
    low = CUMULATIVE[first - 1] if first else 0.0
    return " ".join(
        f"w{word}" for word in np.searchsorted(CUMULATIVE, rng.uniform(low, CUMULATIVE[-1], size))
    )


def corpus(size: int) -> Iterator[Passage]:
    rng = np.random.default_rng(0)
    return (Passage(str(number), f"t{number}", drawn(rng, 0, PASSAGE_WORDS)) for number in range(size))


def seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def measure(size: int, queries: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "index"
        start = time.process_time()
        index = BM25Index.build(corpus(size))
        build = time.process_time() - start
        save = seconds(lambda: index.save(folder))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        del index
        load = seconds(lambda: BM25Index.load(folder))
        index = BM25Index.load(folder)
        disk = sum(file.stat().st_size for file in folder.iterdir())

        # bm25s over the very same matrix, so that only the search differs.
        reference = bm25s.BM25(method="lucene", backend="numpy")
        reference.scores = {
            "data": index.scores,
            "indices": index.numbers,
            "indptr": index.starts,
            "num_docs": len(index),
        }
        reference.vocab_dict, reference.nonoccurrence_array = index.vocabulary, None

        def retrieve(query: str) -> list[float]:
            found = reference.retrieve([words(query)], k=K, show_progress=False, backend_selection="numpy")
            return [float(score) for score in found.scores[0] if score > 0]

        def search(query: str) -> list[float]:
            return [passage.score for passage in index.search([query], K)[0]]

        rng = np.random.default_rng(1)
        texts = [drawn(rng, FREQUENT, QUERY_WORDS) for _ in range(queries)]
        same = sum(retrieve(text) == search(text) for text in texts) / queries
        ours, theirs = [], []
        for text in texts:
            ours.append(seconds(partial(search, text)))
            theirs.append(seconds(partial(retrieve, text)))
        batch = seconds(lambda: index.search(texts, K)) / queries
        return {
            "passages": size,
            "query_ms": 1e3 * median(ours),
            "query_ms_in_a_batch": 1e3 * batch,
            "query_ms_90th_percentile": 1e3 * float(np.percentile(ours, 90)),
            "bm25s_retrieve_ms": 1e3 * median(theirs),
            "speedup_over_bm25s": median(theirs) / median(ours),
            "same_scores": same,
            "build_seconds": build,
            "save_seconds": save,
            "load_seconds": load,
            "disk_bytes": disk,
            "peak_bytes": peak,
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="a million passages too")
    parser.add_argument("--queries", type=int, default=200, help="how many queries are timed (200)")
    arguments = parser.parse_args()
    results = []
    for size in (10_000, 100_000, *([1_000_000] if arguments.full else [])):
        results.append(measure(size, arguments.queries))
        print(json.dumps(results[-1]), file=sys.stderr)
    print(
        json.dumps({"benchmark": "search", "k": K, "query_words": QUERY_WORDS, "results": results}, indent=2)
    )


if __name__ == "__main__":
    main()
