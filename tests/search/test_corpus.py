import bz2
import csv
import gzip
import io
import json
import lzma
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igpo_gym.data import load_hotpotqa
from igpo_gym.episode import Passage
from igpo_gym.errors import DataError, DuplicateIdError, MissingExtraError
from igpo_gym.search import dialects
from igpo_gym.search.corpus import located, read_corpus


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
        {"id": "c", "title": None, "text": "null title"},
    )
    assert list(read_corpus(path)) == [
        Passage("a", "Title", "text"),
        Passage("b", "", "no title"),
        Passage("c", "", "null title"),
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
        ({"id": "2", "text": 3}, "'text' must be a string, found int"),
        ({"text": "x"}, "no '_id' or 'id'"),
        ({"id": "", "text": "x"}, "'id' must be a non-empty string"),
        ({"id": True, "text": "x"}, "whole number, found bool"),
        ({"id": "2", "title": ["x"], "text": "x"}, "'title' must be a string"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str | dict[str, Any], message: str) -> None:
    path = written(tmp_path / "c.jsonl", {"id": "1", "text": "x"}, "", line)
    with pytest.raises(DataError, match=message) as error:
        list(read_corpus(path))
    assert str(error.value).startswith(f"{path}, line 3: ")


@pytest.mark.parametrize(
    ("record", "passage"),
    [
        ({"id": "1", "title": "Danzig", "contents": "A port.\nOld."}, ("1", "Danzig", "A port.\nOld.")),
        ({"id": "1", "title": "Danzig", "contents": "A port."}, ("1", "Danzig", "A port.")),
        (dialects.write_passage(Passage("1", "Danzig", "A port.")), ("1", "Danzig", "A port.")),
        ({"id": "1", "title": None, "contents": "Danzig\nA port."}, ("1", "Danzig", "A port.")),
        # the corpus of BrowseComp-Plus, whose questions name docids
        ({"docid": "5", "text": "A port.", "url": "http://host"}, ("5", "", "A port.")),
        # the abstracts of Wikipedia that HotpotQA publishes
        ({"id": 12, "title": "Danzig", "text": ["A port.", " Old."]}, ("12", "Danzig", "A port. Old.")),
    ],
)
def test_a_title_beside_the_contents_and_the_ids_and_texts_of_published_corpora_are_read(
    tmp_path: Path, record: dict[str, Any], passage: tuple[str, str, str]
) -> None:
    assert list(read_corpus(written(tmp_path / "c.jsonl", record))) == [Passage(*passage)]
    pq.write_table(pa.Table.from_pylist([record]), tmp_path / "c.parquet")
    assert list(read_corpus(tmp_path / "c.parquet")) == [Passage(*passage)]


def test_unknown_layouts_are_refused_at_the_first_line(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl", {"id": "1", "passage": "x"})
    with pytest.raises(DataError, match=r"line 1: no 'contents' \(Search-R1, .*\), no 'text' \(BEIR, "):
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


@pytest.mark.parametrize(
    ("content", "tool"),
    [
        (gzip.compress(b"{}"), "zcat"),
        (b"\x28\xb5\x2f\xfd\x04\x00", "zstdcat"),
        (bz2.compress(b"{}"), "bzcat"),
        (lzma.compress(b"{}"), "xzcat"),
    ],
    ids=["gzip", "zstd", "bzip2", "xz"],  # the first holds the time
)
def test_what_is_packed_without_saying_so_is_named(tmp_path: Path, content: bytes, tool: str) -> None:
    (tmp_path / "corpus").write_bytes(content)
    with pytest.raises(DataError, match=rf"corpus: it is packed: unpack it \({tool} FILE\)"):
        list(read_corpus(tmp_path / "corpus"))


def test_a_broken_gzip_file_is_refused(tmp_path: Path) -> None:
    whole = written(
        tmp_path / "c.jsonl.gz", *({"id": str(number), "text": "x" * number} for number in range(1, 999))
    )
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(whole.read_bytes()[:-50])
    with pytest.raises(DataError, match="not a whole gzip file"):
        list(read_corpus(cut))
    plain = written(tmp_path / "plain.jsonl", {"id": "1", "text": "x"}).rename(tmp_path / "plain.jsonl.gz")
    with pytest.raises(DataError, match="not a whole gzip file"):
        list(read_corpus(plain))


# Tables, as in Wikipedia-DPR.

TABLE = 'id\ttext\ttitle\n1\t"Aaron ( or ; ""Ahärôn"") is\na prophet."\tAaron\n\n2\t"No title."\t\n'


@pytest.mark.parametrize("name", ["psgs_w100.tsv", "psgs_w100.tsv.gz"])
def test_wikipedia_dpr(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, TABLE.removesuffix("\n"))
    told: list[str] = []
    assert list(read_corpus(path, tell=told.append)) == [
        Passage("1", "Aaron", 'Aaron ( or ; "Ahärôn") is\na prophet.'),
        Passage("2", "", "No title."),
    ]
    assert told == [f"{path}: read as tab-separated values, Wikipedia-DPR (id, text, title)"]


@pytest.mark.parametrize(
    ("rows", "line", "message"),
    [
        ("3\ttoo\tmany\tcolumns\n", 6, "4 columns, not the 3 of the first line"),
        ("3\n", 6, "1 columns, not the 3"),
        ("\ttext\ttitle\n", 6, "'id' must be a non-empty string"),
        ("3\t \ttitle\n", 6, "the passage '3' has no text"),
        ('3\t"' + "open\n" * 30_000, 6, "not a table: unexpected end of data"),
        ('3\t"open" and closed\t\n', 6, "not a table: '\t' expected after '\"'"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, rows: str, line: int, message: str) -> None:
    path = written(tmp_path / "c.tsv", (TABLE + rows).removesuffix("\n"))
    with pytest.raises(DataError, match=message) as error:
        list(read_corpus(path))
    assert str(error.value).startswith(f"{path}, line {line}: ")


def test_a_table_without_the_columns_of_a_corpus_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "qrels.tsv", "query-id\tcorpus-id\tscore", "1\t2\t1")
    with pytest.raises(DataError, match="among the keys: query-id, corpus-id, score"):
        list(read_corpus(path))


# JSON arrays.


def test_passages_without_ids_are_numbered_over_all_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json.gz"
    first.write_text(' [{"title": "A", "text": "a"}, {"title": "B", "text": "b"}]')
    second.write_bytes(gzip.compress(b'[{"text": "c"}]'))
    told: list[str] = []
    assert list(read_corpus(first, second, tell=told.append)) == [
        Passage("0", "A", "a"),
        Passage("1", "B", "b"),
        Passage("2", "", "c"),
    ]
    assert told[0] == f"{first}: read as a JSON array, title, text; a passage's number is its id"


def test_an_array_with_ids_keeps_them(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"id": "x", "title": "A", "text": "a"}]')
    assert list(read_corpus(path)) == [Passage("x", "A", "a")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"text": "a"}, 3]', ": entry 2: expected a JSON object, found int"),
        ('[{"text": "a"}, {"title": "b"}]', ": entry 2: no 'text'"),
        ('[{"text": "a"},\n{"text": }]', ", line 2: not JSON: Expecting value"),
        ("[" * 200_000, ": not JSON"),
        ("[]", ": the corpus has no passages"),
    ],
)
def test_a_wrong_array_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        list(read_corpus(path))
    assert str(error.value).startswith(f"{path}{message}")


# Parquet.


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="parquet needs the extra data")
    import pyarrow.parquet as pq

    pq.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def test_parquet_is_read_in_batches(tmp_path: Path) -> None:
    rows = [{"id": number, "contents": f'"T{number}"\ntext', "unused": 1.5} for number in range(2500)]
    path = parquet(tmp_path / "c.parquet", rows)
    told: list[str] = []
    found = list(read_corpus(path, tell=told.append))
    assert found == [Passage(str(number), f"T{number}", "text") for number in range(2500)]
    assert told == [f"{path}: read as parquet, Search-R1, as in FlashRAG (id, contents)"]


def test_a_wrong_parquet_file_is_named(tmp_path: Path) -> None:
    path = parquet(tmp_path / "c.parquet", [{"id": "1", "text": "x"}, {"id": "2", "text": None}])
    with pytest.raises(DataError, match=r"c\.parquet: row 2: no 'text'"):
        list(read_corpus(path))
    other = parquet(tmp_path / "other.parquet", [{"query": "x", "answer": "y"}])
    with pytest.raises(DataError, match="among the keys: query, answer"):
        list(read_corpus(other))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match="not a whole parquet file"):
        list(read_corpus(path))


def test_parquet_names_the_extra_that_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"igpo-gym\[data\]"):
        list(read_corpus(path))


# HotpotQA.

CONTEXTS = [
    [["Danzig", ["A port.", " On the Vistula. "]], ["Odra", ["A river."]]],
    [["Danzig", ["A port.", " On the Vistula."]], ["Danzig", ["A trilogy."]], ["Danzig", ["A hymn."]]],
]


def hotpotqa(path: Path, split: bool) -> Path:
    """Questions in the layout of Hugging Face (two lists, JSON lines), or in the original one."""
    questions = []
    for number, context in enumerate(CONTEXTS):
        titles, sentences = [pair[0] for pair in context], [pair[1] for pair in context]
        facts = {"title": ["Danzig"], "sent_id": [0]} if split else [["Danzig", 0]]
        both = {"title": titles, "sentences": sentences} if split else context
        question = {"question": "Where?", "answer": "Danzig", "supporting_facts": facts, "context": both}
        questions.append({("id" if split else "_id"): f"q{number}", **question})
    path.write_text("\n".join(map(json.dumps, questions)) if split else json.dumps(questions))
    return path


@pytest.mark.parametrize("split", [True, False])
def test_the_passages_of_hotpotqa_have_the_ids_of_its_questions_evidence(tmp_path: Path, split: bool) -> None:
    path = hotpotqa(tmp_path / "dev.json", split)
    found = list(read_corpus(path))
    assert [passage.id for passage in found] == ["Danzig", "Odra", "Danzig#2", "Danzig#3"]
    assert found == list(load_hotpotqa(path).passages)
    assert list(read_corpus(path, path)) == found  # what a second file has in common is there once


@pytest.mark.parametrize(
    "context", [3, [["A"]], [[1, ["x"]]], {"title": ["A"], "sentences": []}, [["A", "x"]]]
)
def test_a_wrong_context_is_named(tmp_path: Path, context: object) -> None:
    path = written(tmp_path / "c.jsonl", {"context": context})
    with pytest.raises(DataError, match=r"c\.jsonl, line 1: .*'context'"):
        list(read_corpus(path))


# What all have in common.


def search_r1(passages: Sequence[Passage]) -> bytes:
    records = ({"id": each.id, "contents": f'"{each.title}"\n{each.text}'} for each in passages)
    return "\n".join(map(json.dumps, records)).encode()


def beir(passages: Sequence[Passage]) -> bytes:
    records = ({"_id": each.id, "title": each.title, "text": each.text} for each in passages)
    return "\n".join(json.dumps(record, ensure_ascii=False) for record in records).encode()


def dpr(passages: Sequence[Passage]) -> bytes:
    file = io.StringIO(newline="")
    rows = csv.writer(file, delimiter="\t")
    rows.writerows([("id", "text", "title"), *((each.id, each.text, each.title) for each in passages)])
    return file.getvalue().encode()


def array(passages: Sequence[Passage]) -> bytes:
    return json.dumps([{"id": each.id, "title": each.title, "text": each.text} for each in passages]).encode()


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PASSAGES = st.lists(
    st.builds(
        Passage,
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).map(str.strip).filter(bool),
        TEXTS.filter(lambda title: "\n" not in title),
        TEXTS.filter(str.strip),
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize("packed", [search_r1, beir, dpr, array])
@settings(max_examples=60)
@given(passages=PASSAGES)
def test_every_layout_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    packed: Callable[[Sequence[Passage]], bytes],
    passages: list[Passage],
) -> None:
    path = tmp_path_factory.mktemp("corpus") / "corpus"
    path.write_bytes(packed(passages))
    assert list(read_corpus(path)) == passages


def test_a_passage_without_text_is_an_error_or_left_out_and_counted(tmp_path: Path) -> None:
    path = written(
        tmp_path / "c.jsonl",
        {"_id": "1", "title": "T", "text": ""},
        {"_id": "2", "text": "x"},
        {"_id": "3", "text": " \n"},
    )
    with pytest.raises(DataError, match="line 1: the passage '1' has no text; --skip-empty"):
        list(read_corpus(path))
    told: list[str] = []
    assert [each.id for each in read_corpus(path, skip_empty=True, tell=told.append)] == ["2"]
    assert told[1:] == ["2 passages without text were left out"]


def test_files_of_different_layouts_make_one_corpus(tmp_path: Path) -> None:
    one = written(tmp_path / "a.jsonl", {"id": "1", "contents": "T\nx"})
    two = written(tmp_path / "b.tsv", "id\ttext", "2\ty")
    assert list(read_corpus(one, two)) == [Passage("1", "T", "x"), Passage("2", "", "y")]
    with pytest.raises(DataError, match=r"empty\.jsonl: the corpus has no passages"):
        list(read_corpus(one, written(tmp_path / "empty.jsonl")))


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with written(tmp_path / "c.jsonl", {"id": "1", "text": "x"}, "broken").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        passages = read_corpus("-")
        assert next(passages).text == "x"
        with pytest.raises(DataError, match="standard input, line 2: not JSON"):
            next(passages)
        assert not file.closed


def test_what_is_no_corpus_is_refused_with_how_it_begins(tmp_path: Path) -> None:
    path = written(tmp_path / "page.html", "<!doctype html>")
    with pytest.raises(DataError, match=r"page\.html, line 1: not a corpus: .* but with '<!doctype html>'"):
        list(read_corpus(path))


def test_a_line_without_end_is_refused_before_it_is_held(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(b'{"id": "1", "text": "x"}\n{"id": "2", "text": "')
        for _ in range(70):
            file.write(b"x" * (1 << 20))
    with pytest.raises(DataError, match=r"c\.jsonl\.gz, line 2: a line of more than 64 MiB"):
        list(read_corpus(path))


def test_an_array_above_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("igpo_gym.data.files.WHOLE_BYTES", 3 << 20)
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b'[{"text": "' + b"x" * (4 << 20) + b'"}]'))
    with pytest.raises(DataError, match=r"more than 3 MiB, which cannot be .*give it as JSON lines"):
        list(read_corpus(path))


# Ids that come twice.


def test_a_duplicate_id_is_translated_to_files_and_lines(tmp_path: Path) -> None:
    one = written(tmp_path / "a.jsonl", "", {"id": "1", "text": "x"}, {"id": "2", "text": ""})
    two = tmp_path / "b.json"
    two.write_text('[{"id": "3", "text": "y"}, {"id": "1", "text": "z"}]')
    with (
        pytest.raises(DataError, match="comes a second time") as error,
        located(one, two, skip_empty=True),
    ):
        raise DuplicateIdError("1", 0, 2)
    assert (
        str(error.value) == f"{two}: entry 2: the passage id '1' comes a second time, first in {one}, line 2"
    )


def test_what_cannot_be_read_again_is_named_by_number() -> None:
    message = r"standard input: two passages have the id 'a' \(numbers 0 and 12 from 0\)"
    with pytest.raises(DataError, match=message), located("-"):
        raise DuplicateIdError("a", 0, 12)


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another"), located(tmp_path / "never read"):
        raise ValueError("another")
