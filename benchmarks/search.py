"""BM25Index beside bm25s (numpy and numba), tantivy and SQLite FTS5, on the same corpus in the same run.

    python benchmarks/search.py                 # 10,000 and 100,000 passages, a few minutes
    python benchmarks/search.py --million       # and a million: half an hour, 4 GB of memory for bm25s
    python benchmarks/search.py --full          # and five million, BM25Index and tantivy alone

Passages of 60 words drawn from a Zipf law over 200,000 words. Keywords: six words from the same law without
the 30 most frequent ones. Questions: twelve words from the whole law, so with the words that nearly every
passage has, as stop words are. The ten best passages are asked for, one query after another ("first_ms"), all
again ("ms"), then 64 at once; BM25Index alone gives whole passages, the others numbers.

Every engine builds in a process of its own, and searches in another one, with one thread. Times are CPU
seconds, "peak_mib" is the largest anonymous memory (mapped pages are not counted), "cold_ms" is opening and
the first query. "recall" is the share of the exact ten best passages by bm25s's formula that are found, where
one passage is as good as another with the same score. Engines that are not installed are left out. Prints
JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from measuring import zipf_texts

from igpo_gym.episode import Passage
from igpo_gym.search.bm25 import BM25Index, words
from igpo_gym.search.bm25.ranking import every_sum

VOCABULARY, FREQUENT, PASSAGE_WORDS, K, BATCH = 200_000, 30, 60, 10, 64
SECONDS = 20.0
"""A kind of query is timed for about so long."""

Search = Callable[[Sequence[str]], list[list[int]]]
"""The numbers of the best passages of each query."""


def corpus(size: int) -> Iterator[Passage]:
    texts = zipf_texts(np.random.default_rng(0), VOCABULARY, PASSAGE_WORDS, size)
    return (Passage(str(number), f"t{number}", text) for number, text in enumerate(texts))


def queries(count: int) -> dict[str, list[str]]:
    rng = np.random.default_rng(1)
    return {
        "keywords": [*zipf_texts(rng, VOCABULARY, 6, count, first=FREQUENT)],
        "questions": [*zipf_texts(rng, VOCABULARY, 12, count)],
    }


def read(file: Path) -> Iterator[Passage]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            title, text = line.rstrip("\n").split("\t")
            yield Passage(str(number), title, text)


class Ours:
    needs = "igpo_gym"

    @staticmethod
    def build(file: Path, folder: Path) -> None:
        BM25Index.build_folder(read(file), folder)

    @staticmethod
    def open(folder: Path) -> Search:
        index = BM25Index.load(folder)
        return lambda texts: [[int(p.id) for p in found] for found in index.search(texts, K)]


class Bm25s:
    needs = "bm25s"
    backend = "numpy"

    @staticmethod
    def tokens(texts: list[str]) -> Any:
        import bm25s

        return bm25s.tokenize(texts, token_pattern=r"(?u)\w+", stopwords="en", show_progress=False)

    @classmethod
    def build(cls, file: Path, folder: Path) -> None:
        import bm25s

        model = bm25s.BM25(method="lucene", backend=cls.backend)
        model.index(cls.tokens([f"{p.title}\n{p.text}" for p in read(file)]), show_progress=False)
        model.save(folder, show_progress=False)

    @classmethod
    def open(cls, folder: Path) -> Search:
        import bm25s

        model = bm25s.BM25.load(folder, mmap=True)
        model.backend = cls.backend
        if cls.backend == "numba":
            model.activate_numba_scorer()

        def search(texts: Sequence[str]) -> list[list[int]]:
            asked = [words(text) for text in texts]
            found = model.retrieve(asked, k=K, show_progress=False, backend_selection=cls.backend)
            return [
                [number for number, score in zip(row, scores, strict=True) if score > 0]
                for row, scores in zip(found.documents.tolist(), found.scores.tolist(), strict=True)
            ]

        return search


class Bm25sNumba(Bm25s):
    needs = "numba"
    backend = "numba"


class Tantivy:
    needs = "tantivy"

    @staticmethod
    def build(file: Path, folder: Path) -> None:
        import tantivy

        schema = tantivy.SchemaBuilder()
        schema.add_text_field("text", stored=False, index_option="freq")
        schema.add_unsigned_field("number", fast=True, stored=True)
        folder.mkdir()
        writer = tantivy.Index(schema.build(), str(folder)).writer(heap_size=128_000_000, num_threads=1)
        for p in read(file):
            document = tantivy.Document()
            document.add_text("text", f"{p.title}\n{p.text}")
            document.add_unsigned("number", int(p.id))
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()

    @staticmethod
    def open(folder: Path) -> Search:
        import tantivy

        index = tantivy.Index.open(str(folder))
        searcher = index.searcher()

        def search(text: str) -> list[int]:
            hits = searcher.search(index.parse_query(text, ["text"]), K, count=False).hits
            return [searcher.doc(address)["number"][0] for _, address in hits]

        return lambda texts: [search(text) for text in texts]


class Fts5:
    needs = "sqlite3"

    @staticmethod
    def build(file: Path, folder: Path) -> None:
        folder.mkdir()
        base = sqlite3.connect(folder / "index.db")
        base.execute("CREATE VIRTUAL TABLE passages USING fts5(text, content='')")
        rows = ((int(p.id), f"{p.title}\n{p.text}") for p in read(file))
        with base:
            base.executemany("INSERT INTO passages(rowid, text) VALUES (?, ?)", rows)

    @staticmethod
    def open(folder: Path) -> Search:
        base = sqlite3.connect(folder / "index.db")
        command = f"SELECT rowid FROM passages WHERE passages MATCH ? ORDER BY rank LIMIT {K}"

        def search(text: str) -> list[int]:
            any_word = " OR ".join(f'"{word}"' for word in words(text))
            return [row[0] for row in base.execute(command, (any_word,))]

        return lambda texts: [search(text) for text in texts]


ENGINES: dict[str, Any] = {
    "igpo_gym": Ours,
    "bm25s-numpy": Bm25s,
    "bm25s-numba": Bm25sNumba,
    "tantivy": Tantivy,
    "sqlite-fts5": Fts5,
}
LARGE = ("igpo_gym", "tantivy")
"""What is run on more than a million passages."""


class Peak:
    """The largest anonymous memory of this process from now on, in MiB."""

    def __init__(self) -> None:
        self.mib = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            status = Path("/proc/self/status").read_text(encoding="utf-8")
            self.mib = max(self.mib, int(status.split("RssAnon:")[1].split()[0]) / 1024)
            time.sleep(0.05)


def build(engine: str, file: Path, folder: Path) -> dict[str, float]:
    peak = Peak()
    start = time.process_time()
    ENGINES[engine].build(file, folder)
    taken = time.process_time() - start
    disk = sum(each.stat().st_size for each in folder.iterdir())
    return {"build_s": round(taken, 1), "build_peak_mib": round(peak.mib), "disk_mb": round(disk / 1e6, 1)}


def timed(search: Search, texts: Sequence[str]) -> tuple[list[float], list[list[int]]]:
    """How long each query took, and what it found; slow engines do not get to all of them."""
    times: list[float] = []
    found: list[list[int]] = []
    for text in texts:
        start = time.process_time()
        found += search([text])
        times.append(time.process_time() - start)
        if sum(times) > SECONDS and len(times) >= 20:
            break
    return times, found


def measure(engine: str, folder: Path, asked: dict[str, list[str]]) -> dict[str, Any]:
    peak = Peak()
    start = time.process_time()
    search: Search = ENGINES[engine].open(folder)
    search(asked["keywords"][:1])
    facts: dict[str, Any] = {"cold_ms": round(1e3 * (time.process_time() - start), 1)}
    for kind, texts in asked.items():
        first, found = timed(search, texts)
        times, _ = timed(search, texts[: len(first)])
        batch = texts[: min(BATCH, len(times))]
        start = time.process_time()
        search(batch)
        whole = (time.process_time() - start) / len(batch)
        facts[kind] = {
            "first_ms": round(1e3 * median(first), 3),
            "ms": round(1e3 * median(times), 3),
            "p99_ms": round(1e3 * float(np.percentile(times, 99)), 3),
            "batch_ms": round(1e3 * whole, 3),
            "queries": len(times),
            "found": found,
        }
    return facts | {"search_peak_mib": round(peak.mib)}


def exact(folder: Path, asked: dict[str, list[str]]) -> dict[str, list[list[int]]]:
    """For each query the passages that are among the best ``K``, and all that are as good as the last."""
    index = BM25Index.load(folder)

    def best(text: str) -> list[int]:
        postings = [found for word in words(text) if (found := index._postings(word))]
        ranking = every_sum(postings, len(index), 1000) if postings else []
        return [number for number, score in ranking if score >= ranking[:K][-1][1]]

    return {kind: [best(text) for text in texts] for kind, texts in asked.items()}


def run(*arguments: str | Path) -> Any:
    """What this script prints in another process."""
    alone = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    command = [sys.executable, __file__, "--part", *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | alone, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def compare(size: int, engines: Sequence[str], place: Path, asked: Path) -> Iterator[dict[str, Any]]:
    file = place / "corpus.tsv"
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(f"{p.title}\t{p.text}\n" for p in corpus(size))
    right: dict[str, list[list[int]]] = {}
    for engine in dict.fromkeys(("igpo_gym", *engines)):
        name = "bm25s-numpy" if engine == "bm25s-numba" else engine  # one index for both
        built = {} if (place / name).exists() else run("build", name, file, place / name)
        right = right or run("exact", place / name, asked)
        facts = run("measure", engine, place / name, asked)
        for kind, exact_ones in right.items():
            pairs = list(zip(facts[kind].pop("found"), exact_ones, strict=False))
            shares = [len({*found} & {*best}) / min(K, len(best)) for found, best in pairs if best]
            facts[kind]["recall"] = round(sum(shares) / len(shares), 4)
        yield {"passages": size, "engine": engine, **built, **facts}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--million", action="store_true", help="a million passages too")
    parser.add_argument("--full", action="store_true", help="a million and five million passages too")
    parser.add_argument("--sizes", type=int, nargs="+", help="these sizes instead")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES), help="these alone")
    parser.add_argument("--queries", type=int, default=200, help="how many of each kind (200)")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        part, *rest = arguments.part
        if part == "build":
            print(json.dumps(build(rest[0], Path(rest[1]), Path(rest[2]))))
        else:
            asked = json.loads(Path(rest[-1]).read_text(encoding="utf-8"))
            folder = Path(rest[-2])
            print(json.dumps(exact(folder, asked) if part == "exact" else measure(rest[0], folder, asked)))
        return
    engines = [name for name in ENGINES if name in arguments.engines and find_spec(ENGINES[name].needs)]
    for name in set(arguments.engines) - set(engines):
        print(f"{name} is left out: {ENGINES[name].needs} is not installed", file=sys.stderr)
    million = arguments.million or arguments.full
    sizes = [10_000, 100_000, *([1_000_000] if million else []), *([5_000_000] if arguments.full else [])]
    results = []
    for size in arguments.sizes or sizes:
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "queries.json"
            file.write_text(json.dumps(queries(arguments.queries)))
            chosen = [name for name in engines if size <= 1_000_000 or name in LARGE]
            for facts in compare(size, chosen, Path(scratch), file):
                results.append(facts)
                print(json.dumps(facts), file=sys.stderr)
    print(json.dumps({"benchmark": "search", "k": K, "results": results}, indent=2))


if __name__ == "__main__":
    main()
