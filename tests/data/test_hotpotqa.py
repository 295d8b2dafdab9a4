import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from igpo_gym.data.sets.hotpotqa import load_hotpotqa
from igpo_gym.episode import Passage, Question
from igpo_gym.errors import DataError

SHARED = Path(os.environ.get("IGPO_GYM_SHARED", Path(__file__).parents[2] / "../shared"))

ORIGINAL: list[dict[str, Any]] = [
    {
        "_id": "q1",
        "question": "Who wrote the novel about Oskar?",
        "answer": "Günter Grass",
        "type": "bridge",
        "level": "hard",
        "supporting_facts": [["The Tin Drum", 0], ["Günter Grass", 0], ["The Tin Drum", 1]],
        "context": [
            ["The Tin Drum", ["A novel.", " It is about Oskar. "]],
            ["Gdańsk", [" A city."]],
            ["Günter Grass", ["A writer."]],
        ],
    },
    {
        "_id": "q2",
        "question": "Is Gdańsk a city?",
        "answer": "yes",
        "supporting_facts": [["Gdańsk", 0]],
        "context": [["Gdańsk", ["Another text."]], ["The Tin Drum", ["A novel.", " It is about Oskar."]]],
    },
]


def hugging_face(record: dict[str, Any]) -> dict[str, Any]:
    facts, context = record["supporting_facts"], record["context"]
    return {
        "id": record["_id"],
        **{key: record[key] for key in ("question", "answer")},
        "supporting_facts": {
            "title": [title for title, _ in facts],
            "sent_id": [number for _, number in facts],
        },
        "context": {"title": [title for title, _ in context], "sentences": [rest for _, rest in context]},
    }


HUGGING_FACE = [hugging_face(record) for record in ORIGINAL]


def lines(records: list[Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(ORIGINAL),
        json.dumps(ORIGINAL, indent=2),
        "\ufeff\n " + json.dumps(ORIGINAL),
        json.dumps(HUGGING_FACE),
        lines(HUGGING_FACE),
        lines(ORIGINAL),
        "\n" + lines(HUGGING_FACE),
    ],
)
@pytest.mark.parametrize("name", ["dev.json", "dev.json.gz"])
def test_every_layout_gives_the_same_questions_and_passages(tmp_path: Path, content: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    found = load_hotpotqa(path)
    assert found.name == f"hotpotqa:{path}"
    assert found.questions == (
        Question(
            "q1",
            "Who wrote the novel about Oskar?",
            ("Günter Grass",),
            ("The Tin Drum", "Günter Grass"),
            2,
            "hotpotqa",
        ),
        Question("q2", "Is Gdańsk a city?", ("yes",), ("Gdańsk#2",), 1, "hotpotqa"),
    )
    assert found.passages == (
        Passage("The Tin Drum", "The Tin Drum", "A novel. It is about Oskar."),
        Passage("Gdańsk", "Gdańsk", "A city."),
        Passage("Günter Grass", "Günter Grass", "A writer."),
        Passage("Gdańsk#2", "Gdańsk", "Another text."),
    )


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines(HUGGING_FACE))
    (tmp_path / "b.jsonl").write_text(lines(HUGGING_FACE))
    (tmp_path / "c.jsonl").write_text(lines(HUGGING_FACE[:1]))
    a, b, c = (load_hotpotqa(tmp_path / f"{name}.jsonl").fingerprint for name in "abc")
    assert a == b != c


def test_a_title_that_looks_numbered_keeps_ids_unique(tmp_path: Path) -> None:
    record = ORIGINAL[0] | {"context": [["C", ["1"]], ["C#2", ["2"]], ["C", ["3"]], ["C", ["3"]]]}
    (tmp_path / "dev.json").write_text(json.dumps([record]))
    ids = [passage.id for passage in load_hotpotqa(tmp_path / "dev.json").passages]
    assert ids == ["C", "C#2", "C#3"]


def test_unknown_evidence_leaves_the_hops_unknown(tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_text(json.dumps([ORIGINAL[0] | {"supporting_facts": []}]))
    (question,) = load_hotpotqa(tmp_path / "dev.json").questions
    assert (question.evidence, question.hops) == ((), None)


BAD: list[tuple[Any, str]] = [
    ({"answer": None}, "no 'answer'"),
    ({"answer": " "}, "'answer' holds an empty text"),
    ({"question": ""}, "'q1' has no text"),
    ({"question": ["x"]}, "'question' must be a string"),
    ({"_id": None, "id": None}, "no '_id' or 'id'"),
    ({"context": None}, "no 'context'"),
    ({"context": "text"}, "'context' must be a list of pairs"),
    ({"context": [["title"]]}, "'context' must be a list of pairs"),
    ({"context": [["title", "not a list"]]}, "the sentences of paragraph 1 in 'context'"),
    ({"context": {"title": ["a"], "sentences": []}}, "'context' must have two lists of one length"),
    ({"context": {"title": ["a"]}}, "'context' must have two lists of one length"),
    ({"supporting_facts": {"title": "a", "sent_id": "b"}}, "'supporting_facts' must have two lists"),
    ({"supporting_facts": [[1, 2]]}, "'supporting_facts' must be a list of pairs"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_a_bad_record_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    records = [ORIGINAL[1], ORIGINAL[0] | change]
    (tmp_path / "dev.json").write_text(json.dumps(records))
    with pytest.raises(DataError, match=message) as error:
        load_hotpotqa(tmp_path / "dev.json")
    assert f"{tmp_path / 'dev.json'}: entry 2: " in str(error.value)
    (tmp_path / "dev.jsonl").write_text("\n" + lines(records))
    with pytest.raises(DataError, match=message) as error:
        load_hotpotqa(tmp_path / "dev.jsonl")
    assert f"{tmp_path / 'dev.jsonl'}, line 3: " in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no questions"),
        ("[]", "has no questions"),
        ("[1]", "entry 1: expected a JSON object, found int"),
        ('[\n{"_id": 1,\n', "line 3: not JSON"),
        ("[" * 200_000, "not JSON"),
        ("{", "line 1: not JSON"),
        (json.dumps([ORIGINAL[0], ORIGINAL[0]]), "entry 2: the question id 'q1' comes a second time"),
        (lines([HUGGING_FACE[0], HUGGING_FACE[0]]), "line 2: the question id 'q1' comes a second time"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "dev").write_text(content)
    with pytest.raises(DataError, match=message):
        load_hotpotqa(tmp_path / "dev")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.json: no such file"):
        load_hotpotqa(tmp_path / "gone.json")
    (tmp_path / "latin").write_bytes('[{"question": "Günter"}]'.encode("latin-1"))
    with pytest.raises(DataError, match="not JSON"):
        load_hotpotqa(tmp_path / "latin")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(json.dumps(ORIGINAL).encode())[:-20])
    with pytest.raises(DataError, match=r"cut\.gz, line 1: not a whole gzip file"):
        load_hotpotqa(tmp_path / "cut.gz")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the HotpotQA sample is not beside this checkout")
def test_the_real_sample() -> None:
    found = load_hotpotqa(SHARED / "data/hotpotqa/dev300.jsonl")
    assert len(found.questions) == 300
    assert len(found.passages) == 2967
    ids = {passage.id for passage in found.passages}
    assert len(ids) == len(found.passages)
    assert all(set(question.evidence) <= ids and question.hops == 2 for question in found.questions)
    assert found.questions[0].evidence == ("Tinted Windows (album)", "Tinted Windows (band)")


def test_a_missing_file_is_named_once(tmp_path: Path) -> None:
    path = tmp_path / "missing.json"
    with pytest.raises(DataError) as caught:
        load_hotpotqa(path)
    assert str(caught.value) == f"{path}: no such file"
