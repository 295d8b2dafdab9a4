"""How well BM25, dense search and their fusion find what answers a question, on real questions and passages.

Two measures, each with its 95% interval over questions:

- HotpotQA: of the passages that hold a question's evidence, the share among the first k, searched for in the
  contexts of all questions of the file.
- 2WikiMultihopQA: whether a passage that holds the answer, as whole words, is among the first k. Questions
  whose answer stands in no passage are left out, and those of yes and no, which stand in any.

    python benchmarks/retrieval.py --model FOLDER --hotpotqa dev.jsonl \\
        --corpus corpus.json --questions questions.jsonl

The indexes are kept in ``--indexes`` and used again. Needs the extra ``dense``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from igpo_gym.data import load_hotpotqa
from igpo_gym.data.metrics import cover_exact_match
from igpo_gym.episode import Passage
from igpo_gym.search import BM25Index, Retriever, read_corpus
from igpo_gym.search.dense import DenseIndex, build_dense
from igpo_gym.search.hybrid import Hybrid
from igpo_gym.statistics import SHARE, Estimate, difference, mean_over

DEPTHS = (3, 10)
Hit = Callable[[int, Sequence[Passage]], float]
"""How much of what a question wants is among these passages, from 0 to 1."""


def retrievers(corpus: Path, model: str, folder: Path) -> dict[str, Retriever]:
    """BM25, dense and hybrid over a corpus."""
    began = time.process_time()
    if not folder.exists():
        build_dense(read_corpus(corpus), folder, model, progress=True, tell=print)
        print(f"built in {time.process_time() - began:.0f} s of processor time")
    bm25, dense = BM25Index.build(read_corpus(corpus)), DenseIndex.load(folder)
    return {"BM25": bm25, "dense": dense, "hybrid": Hybrid([bm25, dense])}


def report(title: str, queries: list[str], hit: Hit, found_by: dict[str, Retriever]) -> None:
    """Print a table: a row for each retriever, and the hybrid's lead over BM25."""
    estimates: dict[str, list[Estimate]] = {}
    for name, retriever in found_by.items():
        began = time.process_time()
        found = retriever.search(queries, max(DEPTHS))
        each = 1000 * (time.process_time() - began) / len(queries)
        rows = [[hit(number, passages[:k]) for number, passages in enumerate(found)] for k in DEPTHS]
        estimates[name] = [mean_over(row, range(len(row)), SHARE) for row in rows]
        print(f"{title}, {name}: {each:.1f} ms of processor time a query")
    leads = [difference(*pair) for pair in zip(estimates["hybrid"], estimates["BM25"], strict=True)]
    estimates["hybrid less BM25"] = leads
    print(f"\n| {title} | " + " | ".join(f"first {k}" for k in DEPTHS) + " |")
    print("|---" * (len(DEPTHS) + 1) + "|")
    for name, values in estimates.items():
        cells = [f"{each.value:.3f} ({each.low:.3f} to {each.high:.3f})" for each in values]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print()


def hotpotqa(file: Path, model: str, indexes: Path) -> None:
    questions = load_hotpotqa(file).questions
    wanted = [frozenset(question.evidence) for question in questions]

    def hit(number: int, passages: Sequence[Passage]) -> float:
        return len(wanted[number] & {passage.id for passage in passages}) / len(wanted[number])

    found_by = retrievers(file, model, indexes / "hotpotqa")
    title = f"HotpotQA, {len(questions)} questions, share of the evidence"
    report(title, [question.text for question in questions], hit, found_by)


def two_wiki(corpus: Path, file: Path, model: str, indexes: Path) -> None:
    texts = [f"{passage.title}\n{passage.text}" for passage in read_corpus(corpus)]
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    asked = [(line["question"], line["answer"]) for line in lines if line["answer"] not in ("yes", "no")]
    kept = [pair for pair in asked if any(cover_exact_match(text, [pair[1]]) for text in texts)]

    def hit(number: int, passages: Sequence[Passage]) -> float:
        answer = kept[number][1]
        return float(any(cover_exact_match(f"{each.title}\n{each.text}", [answer]) for each in passages))

    found_by = retrievers(corpus, model, indexes / "2wiki")
    title = f"2WikiMultihopQA, {len(kept)} of {len(lines)} questions, a passage with the answer"
    report(title, [question for question, _ in kept], hit, found_by)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="a sentence-transformers encoder: folder or hub name")
    parser.add_argument("--hotpotqa", type=Path, help="a file of HotpotQA questions with contexts")
    parser.add_argument("--corpus", type=Path, help="passages of 2WikiMultihopQA")
    parser.add_argument("--questions", type=Path, help="JSON lines with question and answer")
    parser.add_argument(
        "--indexes", type=Path, default=Path("retrieval-indexes"), help="where indexes are kept"
    )
    options = parser.parse_args()
    if options.hotpotqa:
        hotpotqa(options.hotpotqa, options.model, options.indexes)
    if options.corpus:
        two_wiki(options.corpus, options.questions, options.model, options.indexes)


if __name__ == "__main__":
    main()
