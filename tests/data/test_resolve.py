import os
from pathlib import Path

import pytest

from igpo_gym.data import QuestionSet, resolve_questions
from igpo_gym.episode import Question
from igpo_gym.errors import DataError, SpecError
from igpo_gym.specs import register, unregister

QUESTION = Question("1", "Who?", ("Grass",))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "q.jsonl"
    path.write_text('{"id": "1", "question": "Who?", "answers": "Grass"}\n')
    return path


def test_specs_are_loaded_once_until_the_file_changes(file: Path) -> None:
    first = resolve_questions(f"jsonl:{file}")
    assert [question.text for question in first.questions] == ["Who?"]
    assert resolve_questions(f"jsonl:{file}") is first
    file.write_text('{"id": "1", "question": "Where?", "answers": "Danzig"}\n')
    os.utime(file, ns=(1, 1))
    assert [question.text for question in resolve_questions(f"jsonl:{file}").questions] == ["Where?"]


def test_sets_pass_and_questions_are_made_one() -> None:
    ready = QuestionSet("mine", (QUESTION,))
    assert resolve_questions(ready) is ready
    assert resolve_questions([QUESTION]) == QuestionSet("1 question", (QUESTION,))


@pytest.mark.parametrize("spec", ["", "hotpot", "hotpotqa", "jsonl:", "hotpotqa:", "tsv:file", "q.jsonl"])
def test_unknown_forms_are_refused_with_the_known_ones(spec: str) -> None:
    with pytest.raises(SpecError, match=r"questions .*hotpotqa:FILE"):
        resolve_questions(spec)


def test_what_is_wrong_with_a_file_is_a_data_error() -> None:
    for scheme in ("hotpotqa", "jsonl"):
        with pytest.raises(DataError, match="nowhere: no such file"):
            resolve_questions(f"{scheme}:nowhere")


def test_bad_sequences_are_refused() -> None:
    with pytest.raises(SpecError, match="no questions"):
        resolve_questions([])
    with pytest.raises(SpecError, match="two questions have the id '1'"):
        resolve_questions([QUESTION, QUESTION])
    for found, reason in (
        ((), "no questions in 'own'"),
        ((QUESTION, QUESTION), "two questions have the id '1'"),
    ):
        with pytest.raises(SpecError, match=reason):
            resolve_questions(QuestionSet("own", found))
    with pytest.raises(SpecError, match="a QuestionSet, not name, queries"):
        resolve_questions({"name": "own", "queries": []})
    with pytest.raises(SpecError) as told:
        resolve_questions([QUESTION, {"answers": ["Danzig"]}])  # type: ignore[list-item]
    assert str(told.value) == "item 2 of the questions is no Question, but a dict"


def test_records_of_a_known_layout_are_questions() -> None:
    datasets = pytest.importorskip("datasets")
    records = [{"id": 7, "question": "Where?", "answers": {"text": ["Danzig"], "answer_start": [3]}}]
    for given in (records, tuple(records), datasets.Dataset.from_list(records)):
        found = resolve_questions(given)
        assert [(each.id, each.text, each.answers) for each in found.questions] == [
            ("7", "Where?", ("Danzig",))
        ]
        assert found.name == "1 question"
    single = datasets.Features({"question": datasets.Value("string"), "answer": datasets.Value("float32")})
    given = datasets.Dataset.from_dict({"question": ["How many?"], "answer": [0.1]}, features=single)
    assert resolve_questions(given).questions[0].answers == ("0.1",)
    with pytest.raises(DataError, match=r"the questions: row 1: no known layout .*; there is: prompt"):
        resolve_questions([{"prompt": "Where?"}])
    with pytest.raises(DataError, match="the questions: row 2: no 'question'"):
        resolve_questions([*records, {"id": 8}])


def test_what_a_loader_from_outside_gives_is_checked_and_cleaned() -> None:
    made = {
        "twice": (QUESTION, QUESTION),
        "none": (),
        "blanks": (Question("1", "Who?", (" Grass ", "Grass")),),
    }
    for name, questions in made.items():
        register(
            "questions", f"outside-{name}", lambda questions=questions: QuestionSet("outside", questions)
        )
    try:
        with pytest.raises(SpecError, match="two questions have the id '1'"):
            resolve_questions("outside-twice")
        with pytest.raises(SpecError, match="there are no questions in 'outside'"):
            resolve_questions("outside-none")
        for given in ("outside-blanks", QuestionSet("mine", made["blanks"])):
            assert resolve_questions(given).questions[0].answers == ("Grass",)
    finally:
        for name in made:
            unregister("questions", f"outside-{name}")
    with pytest.raises(SpecError, match="the questions of 'mine' must be a list or a tuple, not a generator"):
        resolve_questions(QuestionSet("mine", (each for each in [QUESTION])))  # type: ignore[arg-type]
