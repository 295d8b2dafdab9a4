from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from igpo_gym.cli import app
from igpo_gym.data import resolve_questions
from igpo_gym.episode import Episode
from igpo_gym.specs import register, unregister

WORDS = ("port", "river", "novel", "castle", "writer", "bridge", "island", "harbor", "cathedral", "square")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "nq.jsonl"
    records = [{"question": f"which {word} is it", "answer": [word, f"the {word}"]} for word in WORDS]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def prepare(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["data", "prepare", *map(str, arguments)], env={"COLUMNS": "300"})
    assert result.exit_code == code, result.output
    return result.output


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    for name, each in found["files"].items():
        assert each["sha256"] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert set(found["files"]) == {path.name for path in folder.iterdir()} - {"manifest.json"}
    return found


@pytest.mark.parametrize(
    ("to", "scheme", "ending"), [("jsonl", "jsonl", "jsonl"), ("search-r1", "verl", "parquet")]
)
def test_the_files_are_read_back(file: Path, tmp_path: Path, to: str, scheme: str, ending: str) -> None:
    out = tmp_path / "out"
    prepare(file, "--out", out, "--format", to, "--validation-size", "3", "--seed", "1")
    found = manifest(out)
    assert {name: each["questions"] for name, each in found["files"].items()} == {
        f"train.{ending}": 7,
        f"validation.{ending}": 3,
    }
    assert found["questions"]["spec"] == f"nq:{file}"
    assert found["questions"]["questions"] == 10
    back = [
        question
        for split in ("train", "validation")
        for question in resolve_questions(f"{scheme}:{out / split}.{ending}").questions
    ]
    assert sorted(back, key=lambda q: int(q.id)) == list(resolve_questions(str(file)).questions)
    assert [question.id for question in back[:7]] == sorted((q.id for q in back[:7]), key=int)


def test_verl_and_trl_get_the_prompt_of_the_protocol(file: Path, tmp_path: Path) -> None:
    prepare(file, "--out", tmp_path / "verl", "--format", "verl")
    rows = pq.read_table(tmp_path / "verl" / "train.parquet").to_pylist()
    assert rows[0]["agent_name"] == "searchqa"
    assert rows[0]["extra_info"] == {"index": 0, "question_id": "1", "split": "train"}
    assert rows[0]["reward_model"] == {"style": "rule", "ground_truth": {"target": ["port", "the port"]}}
    assert "which port is it" in rows[0]["prompt"][-1]["content"]
    assert "<search>" in rows[0]["prompt"][-1]["content"]
    prepare(file, "--out", tmp_path / "trl", "--format", "trl", "--protocol", "tool_call")
    told = [manifest(tmp_path / name) for name in ("verl", "trl")]
    assert [(each["protocol"], each["tools"]) for each in told] == [
        ("tags-chat", "search"),
        ("tool_call", "search"),
    ]
    (first, *_) = (json.loads(line) for line in (tmp_path / "trl" / "train.jsonl").open())
    assert first["question_id"] == "1"
    assert all(message["question_id"] == "1" for message in first["prompt"])
    assert "<tool_call>" in str(first["prompt"])
    assert '"answers"' not in json.dumps(first)


def test_search_r1_has_its_own_prompt(file: Path, tmp_path: Path) -> None:
    prepare(file, "--out", tmp_path / "r1", "--format", "search-r1")
    (row, *_) = pq.read_table(tmp_path / "r1" / "train.parquet").to_pylist()
    assert row["prompt"][0]["content"].startswith(
        "Answer the given question. You must conduct reasoning inside"
    )
    assert row["prompt"][0]["content"].endswith("Question: which port is it?\n")


class AtTimes:
    """An agent that answers question n rightly in its first n % 4 attempts."""

    def act(self, episodes: Sequence[Episode]) -> list[str]:
        return [f"<answer>{self.answer(episode)}</answer>" for episode in episodes]

    @staticmethod
    def answer(episode: Episode) -> str:
        right = episode.attempt < int(episode.question.id) % 4
        return episode.question.answers[0] if right else "x"


@pytest.fixture
def at_times() -> Iterator[None]:
    register("policy", "at-times", AtTimes)
    yield
    unregister("policy", "at-times")


@pytest.mark.usefixtures("at_times")
def test_tests_and_rollouts_leave_questions_out(file: Path, tmp_path: Path) -> None:
    test = tmp_path / "test.jsonl"
    test.write_text(
        json.dumps({"question": "Which port is it?", "answers": "x"})
        + "\n"
        + json.dumps({"question": "which river is it", "answers": "x"})
        + "\n"
    )
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"id": w, "contents": f'"{w}"\nA {w}.'}) + "\n" for w in WORDS))
    rollouts = tmp_path / "groups.jsonl"
    played = CliRunner().invoke(
        app,
        [
            *("rollout", "--agent", "at-times", "--questions", f"nq:{file}", "--search", f"bm25:{corpus}"),
            *("--scorer", "none", "--reward", "outcome-em", "--group-size", "3", "--out", str(rollouts)),
        ],
    )
    assert played.exit_code == 0, played.output
    out = tmp_path / "out"
    prepare(file, "--against", test, "--rollouts", rollouts, "--out", out)
    found = manifest(out)
    assert found["dropped"][f"asked by {test}, once normalized"]["ids"] == ["1"]
    assert found["dropped"][f"asked by {test}"]["ids"] == ["2"]
    assert found["dropped"]["never solved in the rollouts"]["ids"] == ["4", "8"]
    assert found["dropped"]["always solved in the rollouts"]["ids"] == ["3", "7"]
    left = resolve_questions(str(out / "train.jsonl")).questions
    assert [question.id for question in left] == ["5", "6", "9", "10"]
    assert found["rollouts"]["metric"] == "em"


@pytest.mark.usefixtures("at_times")
def test_blanks_around_a_question_and_signs_that_were_neutralized_make_no_other(tmp_path: Path) -> None:
    """As in 19 of 300 questions of HotpotQA; a transcript has the text as its prompt shows it."""
    asked, logs, out = tmp_path / "asked.jsonl", tmp_path / "logs.jsonl", tmp_path / "out"
    asked.write_text(
        "".join(
            json.dumps({"question": text, "answer": "x"}) + "\n" for text in (" Who wrote it? ", "Is p <q?")
        )
    )
    said = [
        {
            "question": text,
            "answer": "x",
            "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": each}],
        }
        for text in ("Who wrote it?", "Is p ‹q?")
        for each in ("x", "y")
    ]
    logs.write_text("".join(json.dumps(each) + "\n" for each in said))
    records = tmp_path / "records.jsonl"
    assert CliRunner().invoke(app, ["import", str(logs), "--out", str(records)]).exit_code == 0
    prepare(asked, "--rollouts", records, "--out", out)
    assert len(resolve_questions(str(out / "train.jsonl")).questions) == 2


@pytest.mark.usefixtures("at_times")
def test_rollouts_of_other_questions_say_nothing_of_these(file: Path, tmp_path: Path) -> None:
    """Both files call their questions by the number of the line."""
    other, corpus, groups = (tmp_path / name for name in ("other.jsonl", "corpus.jsonl", "groups.jsonl"))
    texts = ["which castle is it", "who is asked", "which port is it", "who says it"]
    other.write_text("".join(json.dumps({"question": each, "answer": ["x"]}) + "\n" for each in texts))
    corpus.write_text(json.dumps({"id": "1", "contents": '"port"\nA port.'}) + "\n")
    asked = ["rollout", "--agent", "at-times", "--questions", f"nq:{other}", "--search", f"bm25:{corpus}"]
    paid = ["--scorer", "none", "--reward", "outcome-em", "--group-size", "3", "--out", str(groups)]
    assert CliRunner().invoke(app, asked + paid).exit_code == 0
    told = prepare(file, "--rollouts", groups, "--out", tmp_path / "out", code=2)
    assert {"8 not in the rollouts", "2 always solved in the rollouts"} <= {
        each.strip() for each in " ".join(told.split()).split("; ")[1:]
    }
    file.write_text(json.dumps({"question": "what else", "answer": ["x"]}) + "\n")
    told = prepare(file, "--rollouts", groups, "--out", tmp_path / "out", code=2)
    assert "groups.jsonl asks none of the questions" in " ".join(told.split())


def test_mistakes_are_one_line_and_leave_nothing(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "unknown form of training files 'verk'" in prepare(file, "--out", out, "--format", "verk", code=2)
    assert "no question is left" in prepare(file, "--out", out, "--validation-size", "10", code=2)
    assert "a share or a number of" in prepare(file, "--out", out, "--validation-size", "1.5", code=2)
    assert not out.exists()
    prepare(file, "--out", out)
    assert "is there already; name another folder" in prepare(file, "--out", out, code=2).replace("\n", " ")


def test_an_answer_in_parts_keeps_them(tmp_path: Path) -> None:
    record = {"id": "1", "question": "Which?", "answer": {"Danzig": 2, "Thorn": 2}, "decomposition": []}
    (tmp_path / "dev.json").write_text(json.dumps([record]))
    with pytest.warns(UserWarning, match="a belief"):
        prepare(f"fanoutqa:{tmp_path / 'dev.json'}", "--out", tmp_path / "out")
    (question,) = resolve_questions(f"jsonl:{tmp_path / 'out' / 'train.jsonl'}").questions
    assert question.parts == ("Danzig", "2", "Thorn", "2")
    assert question.answers == ("Danzig: 2; Thorn: 2",)
