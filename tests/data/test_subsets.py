import json
from pathlib import Path

import pytest

from igpo_gym.config import EnvConfig
from igpo_gym.data import resolve_questions
from igpo_gym.envs.setup import assemble
from igpo_gym.errors import SpecError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    records = [
        {
            "id": f"q{n}",
            "question": f"{n}?",
            "answers": [n],
            "hops": n % 4 + 1,
            "source": "nq" if n % 2 else "tq",
        }
        for n in range(100)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def ids(spec: str) -> list[str]:
    return [question.id for question in resolve_questions(spec).questions]


def test_limit_takes_the_first_and_with_a_seed_any_in_their_order(file: Path) -> None:
    assert ids(f"jsonl:{file}#limit=3") == ["q0", "q1", "q2"]
    drawn = ids(f"{file}#limit=30,seed=1")
    assert len(set(drawn)) == 30
    assert drawn == sorted(drawn, key=lambda id_: int(id_[1:]))
    assert drawn == ids(f"jsonl:{file}#seed=1,limit=30") != ids(f"{file}#limit=30,seed=2")
    assert ids(f"{file}#limit=1000,seed=1") == ids(str(file))


def test_a_drawn_subset_of_a_longer_file_is_the_same_as_far_as_it_is_there(file: Path) -> None:
    before = set(ids(f"{file}#limit=50,seed=7"))
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:60]))
    after = set(ids(f"{file}#limit=50,seed=7"))
    assert {id_ for id_ in before if int(id_[1:]) < 60} <= after


def test_filters_come_before_the_limit(file: Path) -> None:
    assert ids(f"{file}#hops=2-3,limit=4") == ["q1", "q2", "q5", "q6"]
    assert ids(f"{file}#hops=4,sources=nq,limit=2") == ["q3", "q7"]
    assert ids(f"{file}#sources=nq+tq,limit=2") == ["q0", "q1"]
    assert resolve_questions(f"{file}#hops=2-3,limit=4").name == f"jsonl:{file}#hops=2-3,limit=4"


def test_a_source_whose_name_holds_a_plus_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    records = [
        {"id": f"q{n}", "question": f"{n}?", "answers": [n], "source": source}
        for n, source in enumerate(["nq", "wiki+news", "tq", "wiki"])
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert ids(f"{path}#sources=wiki+news") == ids(f"{path}#sources=wiki%2Bnews") == ["q1"]
    some = resolve_questions(f"{path}#sources=tq+wiki+news+nq")
    assert [each.id for each in some.questions] == ids(some.name) == ["q0", "q1", "q2"]
    assert ids(f"{path}#sources=wiki+nq") == ["q0", "q3"]
    with pytest.raises(SpecError, match=r"no question with sources=news;"):
        ids(f"{path}#sources=nq+news")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("hops=5", "has no question with hops=5; there are: 1 (25), 2 (25), 3 (25), 4 (25)"),
        ("hops=two", "'two' is no number of hops"),
        ("sources=nq+popqa", "has no question with sources=popqa; there are: tq (50), nq (50)"),
        ("limit=0", "the limit must be at least 1, not 0"),
        ("limit=x", "'x' is no int, which limit of the questions"),
        ("seed=1", "seed chooses at random which questions #limit=... takes"),
        ("limits=1", "has no option 'limits' (did you mean limit?); it has: hops, sources, limit, seed"),
        ("unanswerable=true", "has no option 'unanswerable'; it has: hops, sources, limit, seed"),
    ],
)
def test_wrong_options_are_told(file: Path, options: str, problem: str) -> None:
    with pytest.raises(SpecError) as told:
        resolve_questions(f"jsonl:{file}#{options}")
    assert problem in str(told.value)
    with pytest.raises(SpecError) as told:
        resolve_questions(f"{file}#{options}")
    assert problem in str(told.value)


def test_a_set_with_an_option_of_the_same_name_keeps_its_own() -> None:
    assert {question.hops for question in resolve_questions("world:test#hops=2,limit=5").questions} == {2}
    assert len(resolve_questions("world:test#hops=2,limit=5").questions) == 5
    with pytest.raises(SpecError, match=r"documents, questions, hops, coupling, seed, .*, sources, limit"):
        resolve_questions("world:test#hopes=2")


def test_sets_that_share_ids_are_joined_and_told_apart(file: Path, tmp_path: Path) -> None:
    nq, other = tmp_path / "nq.jsonl", tmp_path / "other.jsonl"
    for path, word in ((nq, "who"), (other, "where")):
        path.write_text(
            "".join(json.dumps({"question": f"{word} {n}", "answer": ["x"]}) + "\n" for n in "ab")
        )
    assert ids(f"nq:{nq} + {file}#limit=2") == ["1", "2", "q0", "q1"]
    assert ids(f"nq:{nq} + jsonl:{other} + {file}#limit=1") == ["nq/1", "nq/2", "other/1", "other/2", "q0"]
    assert ids(f"nq:{nq} + nq:{other}") == ["nq/1", "nq/2", "nq#2/1", "nq#2/2"]
    with pytest.raises(SpecError, match=r"two questions of .* have the id '1' and ask the same"):
        resolve_questions(f"nq:{nq} + jsonl:{nq}")
    questions, _ = assemble(
        EnvConfig(questions=f"nq:{nq}#limit=1 + world:test#limit=2", scorer=None, reward="outcome-f1")
    )
    assert (len(questions.questions), len(questions.passages)) == (3, 500)


def test_passages_of_one_title_are_told_apart_with_the_evidence(tmp_path: Path) -> None:
    def record(id_: str, *context: tuple[str, str]) -> dict[str, object]:
        return {
            "_id": id_,
            "question": f"{id_}?",
            "answer": "x",
            "supporting_facts": [[title, 0] for title, _ in context],
            "context": [[title, [text]] for title, text in context],
        }

    first, second = tmp_path / "a.json", tmp_path / "b.json"
    first.write_text(
        json.dumps([record("a", ("Danzig", "A port."), ("Vistula", "A river."), ("Danzig", "A city."))])
    )
    second.write_text(
        json.dumps([record("b", ("Vistula", "A river."), ("Danzig", "A town."), ("Odra", "x"))])
    )
    both = resolve_questions(f"hotpotqa:{first} + {second}")
    assert [(passage.id, passage.text) for passage in both.passages] == [
        ("Danzig", "A port."),
        ("Vistula", "A river."),
        ("Danzig#2", "A city."),
        ("Danzig#3", "A town."),
        ("Odra", "x"),
    ]
    assert both.questions[1].evidence == ("Vistula", "Danzig#3", "Odra")
    assert both.fingerprint.count(" + ") == 1
