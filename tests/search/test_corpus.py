import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from igpo_gym.episode import Passage
from igpo_gym.errors import DataError
from igpo_gym.search.corpus import read_corpus


def written(path: Path, *lines: str | dict[str, Any]) -> Path:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_search_r1(tmp_path: Path, name: str) -> None:
    path = written(
        tmp_path / name,
        {"id": "0", "contents": '"Günter Grass"\nA writer.\nBorn 1927.'},
        "",
        {"id": 7, "contents": "Unquoted title\ntext"},
        {"id": "2", "contents": "text without a title"},
        {"id": "3", "contents": '"\ntext'},
    )
    assert list(read_corpus(path)) == [
        Passage("0", "Günter Grass", "A writer.\nBorn 1927."),
        Passage("7", "Unquoted title", "text"),
        Passage("2", "", "text without a title"),
        Passage("3", '"', "text"),
    ]


def test_beir(tmp_path: Path) -> None:
    path = written(
        tmp_path / "corpus.jsonl",
        {"_id": "a", "title": "Title", "text": "text", "metadata": {}},
        {"id": "b", "text": "no title"},
        {"id": "c", "title": None, "text": ""},
    )
    assert list(read_corpus(path)) == [
        Passage("a", "Title", "text"),
        Passage("b", "", "no title"),
        Passage("c", "", ""),
    ]


def test_text_is_preferred_where_a_corpus_has_both(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl", {"id": "1", "title": "T", "text": "x", "contents": "T\nx"})
    assert list(read_corpus(path)) == [Passage("1", "T", "x")]


def test_reads_as_a_stream(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl", {"id": "1", "text": "good"}, "broken")
    passages = read_corpus(path)
    assert next(passages).text == "good"
    with pytest.raises(DataError, match="line 2"):
        next(passages)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": "1", "text": "x"}\n')
    assert [passage.id for passage in read_corpus(path)] == ["1"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "2", "text": ', "not JSON"),
        ("[" * 200_000, "not JSON"),
        ('["id"]', "expected a JSON object, found list"),
        ({"id": "2"}, "no 'text'"),
        ({"id": "2", "text": 3}, "'text' must be a string, found 3"),
        ({"text": "x"}, "no '_id' or 'id'"),
        ({"id": "", "text": "x"}, "'_id' must be a non-empty string"),
        ({"_id": 1, "text": "again"}, "the passage id '1' comes a second time"),
        ({"id": True, "text": "x"}, "whole number, found True"),
        ({"id": "2", "title": ["x"], "text": "x"}, "'title' must be a string"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str | dict[str, Any], message: str) -> None:
    path = written(tmp_path / "c.jsonl", {"id": "1", "text": "x"}, "", line)
    with pytest.raises(DataError, match=message) as error:
        list(read_corpus(path))
    assert str(error.value).startswith(f"{path}, line 3: ")


def test_unknown_layouts_are_refused_at_the_first_line(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl", {"id": "1", "passage": "x"})
    with pytest.raises(DataError, match=r"line 1: no 'contents' \(Search-R1\) and no 'text' \(BEIR\)"):
        list(read_corpus(path))


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        list(read_corpus(tmp_path / "gone.jsonl"))
    with pytest.raises(DataError, match="is a folder"):
        list(read_corpus(tmp_path))
    with pytest.raises(DataError, match="no passages"):
        list(read_corpus(written(tmp_path / "empty.jsonl", "", "")))
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes('{"id": "1", "text": "Günter"}\n'.encode("latin-1"))
    with pytest.raises(DataError, match="line 1: not UTF-8"):
        list(read_corpus(latin))


def test_a_broken_gzip_file_is_refused(tmp_path: Path) -> None:
    whole = written(
        tmp_path / "c.jsonl.gz", *({"id": str(number), "text": "x" * number} for number in range(999))
    )
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(whole.read_bytes()[:-50])
    with pytest.raises(DataError, match="not a whole gzip file"):
        list(read_corpus(cut))
    plain = written(tmp_path / "plain.jsonl", {"id": "1", "text": "x"}).rename(tmp_path / "plain.jsonl.gz")
    with pytest.raises(DataError, match="not a whole gzip file"):
        list(read_corpus(plain))
