"""A dense index in its folder: what it finds, and what is refused."""

from __future__ import annotations

import copy
import errno
import json
import os
import pickle
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import Passage
from igpo_gym.errors import DataError, DuplicateIdError, MissingExtraError, SpecError
from igpo_gym.search import BM25Index, resolve_search
from igpo_gym.search.dense import DenseIndex, build_dense
from igpo_gym.search.manifest import MANIFEST, sealed
from tests.conftest import PASSAGES, QUESTIONS
from tests.search.dense.conftest import PROMPTS, save_encoder

BARE = QuestionSet("bare", QUESTIONS)
QUERY = "Which river is the port at?"


def encoded(folder: Path, texts: Sequence[str]) -> Any:
    """What the encoder makes of texts, without its library: means over the tokens, of length 1."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    rows = []
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=64, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            mean = model(ids).last_hidden_state[0].mean(0).double().numpy()
        rows.append(mean / np.linalg.norm(mean))
    return np.array(rows)


def test_what_is_found_is_nearest_by_an_independent_computation(built: Path, encoder: Path) -> None:
    index = DenseIndex.load(built, device="cpu")
    texts = [f"passage: {each.title}\n{each.text}" for each in PASSAGES]
    for query in (QUERY, "Grass", "novel of 1959"):
        (query_row,) = encoded(encoder, [f"query: {query}"])
        products = encoded(encoder, texts) @ query_row
        best = np.argsort(-products)
        (found,) = index.search([query], k=4)
        assert found == [PASSAGES[number] for number in best[:4]]
        assert [each.score for each in found] == pytest.approx(products[best[:4]].tolist(), abs=1e-5)


def test_queries_share_a_batch_and_keep_their_order(built: Path) -> None:
    index = DenseIndex.load(built, device="cpu")
    queries = ["Danzig", "", QUERY, "Danzig", "x" * 20_000, "\ud800 lone", " \n"]
    found = index.search(queries, k=3)
    assert [len(each) for each in found] == [3, 0, 3, 3, 3, 3, 0]
    assert found[0] == found[3] == index.search(["Danzig"], 3)[0]
    assert index.search([], 3) == []
    assert len(index.search([QUERY], 99)[0]) == len(PASSAGES)
    with pytest.raises(ValueError, match="k must be at least 1"):
        index.search([QUERY], 0)


def test_ones_own_prefix_takes_the_place_of_the_models(built: Path, encoder: Path, tmp_path: Path) -> None:
    manifest = json.loads((built / MANIFEST).read_bytes())
    assert (manifest["query_prefix"], manifest["passage_prefix"]) == tuple(PROMPTS.values())
    plain = DenseIndex.load(built, query_prefix="", device="cpu")
    asked = DenseIndex.load(built, device="cpu")
    (own,), (other,) = plain.search([f"query: {QUERY}"], 3), asked.search([QUERY], 3)
    assert own == other
    assert [each.score for each in own] == pytest.approx([each.score for each in other], abs=1e-6)
    assert plain.identity != asked.identity
    build_dense(
        PASSAGES, tmp_path / "index", str(encoder), query_prefix="q: ", passage_prefix="", device="cpu"
    )
    mine = DenseIndex.load(tmp_path / "index", device="cpu")
    assert mine.query_prefix == "q: "
    (row,) = encoded(encoder, [f"{PASSAGES[0].title}\n{PASSAGES[0].text}"])
    assert np.load(tmp_path / "index" / "vectors.npy")[0] == pytest.approx(row, abs=1e-5)


def test_passages_of_a_title_are_a_document(tmp_path: Path, encoder: Path) -> None:
    parts = [
        Passage("1", "Danzig", "A port."),
        Passage("2", "", "Alone."),
        Passage("3", "Danzig", "Now Gdańsk."),
    ]
    assert build_dense(iter(parts), tmp_path / "index", str(encoder), device="cpu") == 3
    index = DenseIndex.load(tmp_path / "index", device="cpu")
    assert index.documents(["3", "2", "4"]) == [(parts[0], parts[2]), (parts[1],), ()]
    assert (len(index), index[1]) == (3, parts[1])
    assert copy.deepcopy(index) is index


def test_blocks_and_batches_do_not_change_what_belongs_to_whom(
    tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("igpo_gym.search.dense.folder._BLOCK", 4)
    build_dense(PASSAGES, tmp_path / "index", str(encoder), batch_size=3, device="cpu", progress=True)
    rows = encoded(encoder, [f"passage: {each.title}\n{each.text}" for each in PASSAGES])
    assert np.load(tmp_path / "index" / "vectors.npy") == pytest.approx(rows, abs=1e-5)


def test_what_will_be_needed_is_told(tmp_path: Path, encoder: Path) -> None:
    told: list[str] = []
    build_dense(PASSAGES, tmp_path / "index", str(encoder), device="cpu", tell=told.append)
    assert len(told) == 1
    assert told[0].startswith(
        f"{encoder}: 6 vectors of 32 numbers, flat: 0.0 MB on disk; about 0.0 MB of memory"
    )


def test_threads_share_an_index(built: Path) -> None:
    index = DenseIndex.load(built, device="cpu")
    queries = [passage.text for passage in PASSAGES] * 4
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda query: index.search([query], 2)[0], queries))
    assert found == [index.search([query], 2)[0] for query in queries]


# Specs.


def test_equal_specs_share_one_index_until_the_folder_is_another(
    built: Path, tmp_path: Path, encoder: Path
) -> None:
    folder = shutil.copytree(built, tmp_path / "index")
    first = resolve_search(f"dense:{folder}#device=cpu", BARE)
    assert resolve_search(f"dense:{folder}#device=cpu", BARE) is first
    other = resolve_search(f"dense:{folder}#device=cpu,query_prefix=q%2C ", BARE)
    assert isinstance(other, DenseIndex)
    assert other.query_prefix == "q, "
    build_dense(PASSAGES[:3], folder, str(encoder), device="cpu")
    assert len(resolve_search(f"dense:{folder}#device=cpu", BARE)) == 3  # type: ignore[arg-type]


def test_an_identity_is_that_of_content_prefix_and_effort(built: Path, tmp_path: Path, encoder: Path) -> None:
    moved = shutil.copytree(built, tmp_path / "moved")
    identity = DenseIndex.load(moved, device="cpu").identity
    assert identity == DenseIndex.load(built, device="cpu").identity
    assert identity != DenseIndex.load(built, query_prefix="other", device="cpu").identity
    build_dense(PASSAGES, tmp_path / "graph", str(encoder), kind="hnsw", device="cpu")
    graphs = {DenseIndex.load(tmp_path / "graph", ef=ef, device="cpu").identity for ef in (None, 128, 7)}
    assert len(graphs) == 2


def test_what_is_pickled_is_loaded_again(built: Path) -> None:
    index = DenseIndex.load(built, query_prefix="other", device="cpu")
    later = pickle.loads(pickle.dumps(index))
    assert later.identity == index.identity
    assert later.search(["novel"], 3) == index.search(["novel"], 3)


def test_an_index_says_what_it_is(built: Path) -> None:
    index = DenseIndex.load(built, device="cpu")
    assert index.facts() == {"backend": "dense", "model": "tiny", "vectors": "flat", "passages": 6}
    assert repr(index).startswith("DenseIndex(6 passages, flat, ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("ef=5", "ef is at least 1, and for an hnsw index"),
        ("model=nowhere/at/all", "there is no encoder 'nowhere/at/all'"),
        ("device=toaster", "cannot load the encoder .*toaster"),
        ("faiss=flat", "has no option 'faiss'"),
    ],
)
def test_wrong_options_are_named(built: Path, options: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        resolve_search(f"dense:{built}#{options}", BARE)


# What is refused.


def test_folders_that_are_no_dense_index_are_refused(tmp_path: Path, built: Path, encoder: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder; `igpo-gym index build .* --dense"):
        DenseIndex.load(tmp_path / "nowhere")
    BM25Index.build(PASSAGES).save(tmp_path / "words")
    with pytest.raises(DataError, match="not an igpo_gym dense index; search it with bm25:"):
        DenseIndex.load(tmp_path / "words")
    with pytest.raises(DataError, match=f"not an igpo_gym BM25 index; search it with dense:{built}"):
        BM25Index.load(built)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("x")
    with pytest.raises(FileExistsError, match="holds something else than an index"):
        build_dense(PASSAGES, tmp_path / "thesis", str(encoder))


def test_every_damage_is_found(built: Path, tmp_path: Path) -> None:
    for name in sorted(file.name for file in built.iterdir()):
        content = (built / name).read_bytes()
        for place in (0, len(content) // 2, len(content) - 1):
            folder = shutil.copytree(built, tmp_path / f"{name}-{place}")
            turned = bytearray(content)
            turned[place] ^= 0x10
            (folder / name).write_bytes(turned)
            with pytest.raises(DataError, match=r"damaged|not the manifest|the folder holds"):
                DenseIndex.load(folder)
        folder = shutil.copytree(built, tmp_path / f"{name}-cut")
        (folder / name).write_bytes(content[:-1])
        with pytest.raises(DataError, match=r"damaged|not the manifest"):
            DenseIndex.load(folder)


def test_another_format_is_refused(built: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(built, tmp_path / "index")
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["format"] = 99
    manifest = sealed(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="has format 99, this igpo_gym reads 1: build the index again"):
        DenseIndex.load(folder)


def test_the_encoder_must_be_the_one_it_was_built_with(built: Path, encoder: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(encoder, tmp_path / "moved")
    assert DenseIndex.load(built, model=str(moved), device="cpu").search(["Danzig"], 1)[0]
    other = save_encoder(tmp_path / "other", seed=1, prompts=PROMPTS)
    with pytest.raises(DataError, match=r"was built with the encoder '.*tiny', and '.*other' is another one"):
        DenseIndex.load(built, model=str(other), device="cpu")
    folder = tmp_path / "index"
    build_dense(PASSAGES, folder, str(other), device="cpu")
    shutil.rmtree(other)
    with pytest.raises(DataError, match=r"no longer at .*other; say where it is: #model=FOLDER") as error:
        DenseIndex.load(folder)
    assert "\n" not in str(error.value)


def test_a_build_that_fails_leaves_the_old_index(built: Path, tmp_path: Path, encoder: Path) -> None:
    folder = shutil.copytree(built, tmp_path / "index")
    with pytest.raises(DuplicateIdError) as error:
        build_dense([*PASSAGES, PASSAGES[2]], folder, str(encoder), device="cpu")
    assert (error.value.id, error.value.first, error.value.second) == ("danzig", 2, 6)
    with pytest.raises(ValueError, match="there are no passages"):
        build_dense([], folder, str(encoder), device="cpu")
    with pytest.raises(SpecError, match="unknown kind of vector index 'lsh'"):
        build_dense(PASSAGES, folder, str(encoder), kind="lsh")
    assert len(DenseIndex.load(folder, device="cpu")) == len(PASSAGES)
    assert [each.name for each in tmp_path.iterdir()] == ["index"]


def test_a_full_disk_is_told_before_anything_is_encoded(
    tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(100, 99, 1))  # type: ignore[attr-defined]
    with pytest.raises(OSError, match=r"the vectors need 0\.0 GB on disk, and 0\.0 GB are free"):
        build_dense(PASSAGES, tmp_path / "index", str(encoder), device="cpu")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve room on a disk")
def test_a_disk_that_fills_up_leaves_nothing(
    tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        build_dense(PASSAGES, tmp_path / "index", str(encoder), device="cpu")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("library", ["faiss", "sentence_transformers"])
def test_a_missing_library_is_named(
    tmp_path: Path, built: Path, encoder: Path, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    for attempt in (
        lambda: build_dense(PASSAGES, tmp_path / "i", str(encoder)),
        lambda: DenseIndex.load(built),
    ):
        with pytest.raises(MissingExtraError, match=r"igpo-gym\[dense\]"):
            attempt()
