"""Commands over corpora: indexes are built from what users have, shown, and searched."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from igpo_gym.cli import app
from igpo_gym.search.bm25 import BM25Index
from igpo_gym.search.dense import DenseIndex
from tests.conftest import PASSAGES, REPOSITORY
from tests.search.dense.conftest import save_encoder


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a corpus in two files of different forms."""
    monkeypatch.setenv("IGPO_GYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"_id": each.id, "title": each.title, "text": each.text}) for each in PASSAGES[:4]]
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    rows = "".join(f"{each.id}\t{each.text}\t{each.title}\n" for each in PASSAGES[4:])
    (tmp_path / "b.tsv").write_text(f"id\ttext\ttitle\n{rows}", encoding="utf-8")
    return tmp_path


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    return result.output


def test_several_files_become_one_index(workplace: Path) -> None:
    output = run("index", "build", "a.jsonl.gz", "b.tsv", "index")
    assert "a.jsonl.gz: read as JSON lines, BEIR (_id, title, text)" in output
    assert "b.tsv: read as tab-separated values, Wikipedia-DPR (id, text, title)" in output
    assert "6 passages indexed in index; search them with --search bm25:index" in output
    assert list(BM25Index.load(workplace / "index")) == list(PASSAGES)


def test_standard_input_becomes_an_index(workplace: Path) -> None:
    command = [sys.executable, "-c", "from igpo_gym.cli import app; app()", "index", "build", "-", "index"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    lines = gzip.decompress((workplace / "a.jsonl.gz").read_bytes())
    done = subprocess.run(command, input=lines, env=environment, capture_output=True, check=False)
    assert b"standard input: read as JSON lines, BEIR" in done.stdout, done.stderr
    assert list(BM25Index.load(workplace / "index")) == list(PASSAGES[:4])


def test_an_id_that_comes_twice_is_told_with_both_places(workplace: Path) -> None:
    (workplace / "b.tsv").write_text("id\ttext\nnew\tx\ngrass\ty\n")
    output = " ".join(run("index", "build", "a.jsonl.gz", "b.tsv", "index", code=2).split())
    assert "b.tsv, line 3: the passage id 'grass' comes a second time, first in a.jsonl.gz, line 2" in output
    assert not (workplace / "index").exists()


def test_passages_without_text_are_left_out_if_asked(workplace: Path) -> None:
    (workplace / "b.tsv").write_text("id\ttext\nnew\tx\nempty\t\n")
    output = " ".join(run("index", "build", "b.tsv", "index", code=2).split())
    assert "b.tsv, line 3: the passage 'empty' has no text; --skip-empty leaves such ones out" in output
    output = run("index", "build", "b.tsv", "index", "--skip-empty")
    assert "1 passages without text were left out" in output
    assert "1 passages indexed" in output


def test_dense_and_hybrid_search_from_the_command_line(
    workplace: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    encoder = save_encoder(tmp_path_factory.mktemp("encoder") / "tiny")
    dense = ("--dense", str(encoder), "--device", "cpu", "--query-prefix", "query: ", "--faiss", "hnsw")
    output = run("index", "build", "a.jsonl.gz", "b.tsv", "vectors", *dense)
    assert "6 vectors of 32 numbers, hnsw: 0.0 MB on disk; about 0.0 MB of memory to build" in output
    assert "6 passages indexed in vectors; search them with --search dense:vectors" in output
    index = DenseIndex.load("vectors", device="cpu")
    assert (list(index.passages), index.query_prefix) == (list(PASSAGES), "query: ")
    shown = run("index", "show", "vectors")
    for expected in ("igpo_gym dense index", "hnsw", "'query: '", "index.faiss", "passages"):
        assert expected in shown
    run("index", "build", "a.jsonl.gz", "b.tsv", "words")
    questions = [json.dumps({"id": "q", "question": "Which river?", "answers": ["Odra"]})]
    Path("questions.jsonl").write_text("\n".join(questions))
    search = "hybrid:bm25:words,dense:vectors%23device=cpu#depth=5"
    settings = ("--questions", "jsonl:questions.jsonl", "--scorer", "none", "--reward", "outcome-f1")
    run("rollout", "--agent", "scripted", "--search", search, *settings, "--out", "out.jsonl")
    episode = json.loads(Path("out.jsonl").read_text().splitlines()[-1])
    assert "Odra" in json.dumps(episode, ensure_ascii=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("index",), "name the files of the corpus, and then the folder of the index"),
        (("b.tsv", "a.jsonl.gz"), "a.jsonl.gz is a file: name the folder of the index last"),
        (("b.tsv", "index", "--faiss", "flat"), "--faiss and the prefixes are for a dense index"),
        (("b.tsv", "index", "--dense", "no/model/there"), "there is no encoder 'no/model/there'"),
        (("gone.jsonl", "index"), "gone.jsonl: no such file"),
    ],
)
def test_mistakes_are_told_in_a_line(workplace: Path, arguments: tuple[str, ...], message: str) -> None:
    (line,) = [line for line in run("index", "build", *arguments, code=2).splitlines() if "error" in line]
    assert message in line


def test_what_is_no_index_is_not_shown(workplace: Path) -> None:
    assert "no index: no manifest.json" in " ".join(run("index", "show", ".", code=2).split())
    (workplace / "manifest.json").write_text('{"name": "a web site"}')
    assert "no index: no manifest.json" in run("index", "show", ".", code=2)
    assert "Example" in run("index", "show", "--help")
