import json
from pathlib import Path
from typing import Any

import pytest

from igpo_gym.data.sets.jsonl import load_jsonl
from igpo_gym.episode import Question
from igpo_gym.errors import DataError
from igpo_gym.search import read_corpus


def written(path: Path, *lines: str | dict[str, Any]) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_reads_questions(tmp_path: Path) -> None:
    path = written(
        tmp_path / "nq.test.jsonl",
        {
            "id": "a",
            "question": "Who?",
            "answers": ["Grass", "Günter Grass"],
            "evidence": ["p1", "", " p1"],
            "hops": 1,
        },
        "",
        {"question": "Where?", "answers": "Danzig", "hops": 2.0},
        {"id": 7, "question": "When?", "golden_answers": ["1927"], "metadata": {}},
    )
    found = load_jsonl(path)
    assert found.name == f"jsonl:{path}"
    assert found.questions == (
        Question("a", "Who?", ("Grass", "Günter Grass"), ("p1",), 1, "nq"),
        Question("3", "Where?", ("Danzig",), (), 2, "nq"),
        Question("7", "When?", ("1927",), (), None, "nq"),
    )
    assert (found.passages, found.fingerprint) == ((), "")


GOOD = {"id": "1", "question": "Who?", "answers": ["Grass"]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"id": "2", "question": "Who?", "answers": None}, "no 'answers' or .*; there is: id, question$"),
        ('{"id":', "not JSON"),
        ("[]", "expected a JSON object, found list"),
        ({"id": "2", "answers": ["x"]}, "no 'question'"),
        ({"id": "2", "question": " ", "answers": ["x"]}, "question '2' has no text"),
        ({"id": "2", "question": "Who?"}, "no 'answers' or 'golden_answers'"),
        ({"id": "2", "question": "Who?", "answers": []}, "'answers' holds an empty list"),
        (
            {"id": "2", "question": "Who?", "answers": ["x", ""]},
            "'answers' holds an empty text",
        ),
        (
            {"id": "2", "question": "Who?", "answers": [None]},
            "'answers' holds NoneType, which is no answer",
        ),
        (
            {"id": "2", "question": "Who?", "answers": "['Grass', 'Böll']"},
            "'answers' holds a list written as text, not a list",
        ),
        ({"id": "2", "question": ["Who?"], "answers": "x"}, "'question' must be a string"),
        ({"id": "2", "question": {"answer": "SECRET"}}, "'question' must be a string, found dict"),
        (GOOD | {"id": "2", "evidence": {"answer": "SECRET"}}, "a list of strings, found dict"),
        ({"id": [], "question": "Who?", "answers": "x"}, "'id' must be a non-empty string"),
        (GOOD | {"id": "2", "evidence": 3.5}, "'evidence' must be a string or a list"),
        (GOOD | {"id": "2", "evidence_texts": 3}, "'evidence_texts' must be a string or a list"),
        (
            GOOD | {"id": "2", "evidence": ["a", "b"], "evidence_texts": ["only one"]},
            "has not as many texts of evidence as pieces of it",
        ),
        (GOOD | {"id": "2", "hops": 0}, "'hops' must be a whole number from 1, found another number"),
        (GOOD | {"id": "2", "hops": "two"}, "'hops' must be a whole number from 1, found str"),
        (GOOD, "the question id '1' comes a second time"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str | dict[str, Any], message: str) -> None:
    path = written(tmp_path / "q.jsonl", GOOD, "", line)
    with pytest.raises(DataError, match=message) as error:
        load_jsonl(path)
    assert str(error.value).startswith(f"{path}, line 3: ")


def test_a_missing_or_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jsonl: no such file"):
        load_jsonl(tmp_path / "gone.jsonl")
    with pytest.raises(DataError, match=r"empty\.jsonl: the file has no questions"):
        load_jsonl(written(tmp_path / "empty.jsonl"))


def test_ids_that_are_numbers_are_those_of_a_corpus_that_numbers_its_passages(tmp_path: Path) -> None:
    lines = [{"id": 7.0, "question": "Who?", "answers": "Grass", "evidence": [1, "2", 3.0]}]
    corpus = [{"id": number, "text": "He wrote."} for number in (1, 2, 3.0)]
    (question,) = load_jsonl(written(tmp_path / "q.jsonl", *lines)).questions
    passages = read_corpus(written(tmp_path / "corpus.jsonl", *corpus))
    assert question.id == "7"
    assert question.evidence == tuple(passage.id for passage in passages) == ("1", "2", "3")


def test_each_piece_of_evidence_keeps_what_it_has_to_say(tmp_path: Path) -> None:
    row = {"question": "Who?", "answers": "Grass", "evidence": ["p1", "p2", "p1"]}
    path = written(tmp_path / "a.jsonl", row | {"evidence_texts": ["He wrote.", "", "He wrote."]})
    (question,) = load_jsonl(path).questions
    assert (question.evidence, question.evidence_texts) == (("p1", "p2"), ("He wrote.", ""))
    path = written(tmp_path / "b.jsonl", row | {"evidence_texts": ["", "", "He wrote."]})
    assert load_jsonl(path).questions[0].evidence_texts == ("He wrote.", "")
    for texts in (["one", "", "another"], ["one"]):
        path = written(tmp_path / "c.jsonl", row | {"evidence_texts": texts})
        with pytest.raises(DataError, match="evidence"):
            load_jsonl(path)
