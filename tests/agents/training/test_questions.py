from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from igpo_gym.agents.training.questions import question_sets
from igpo_gym.agents.training.settings import Settings
from igpo_gym.errors import SpecError

WORLD = "documents=60,questions=20"


@pytest.mark.parametrize(
    ("questions", "validation", "name"),
    [
        (f"world#{WORLD}", None, f"world:validation#{WORLD}"),
        (f"world:test#{WORLD}", None, f"world:validation#{WORLD}"),
        (f"world#{WORLD}", f"world:test#{WORLD}", f"world:test#{WORLD}"),
    ],
)
def test_a_world_is_validated_on_another(questions: str, validation: str | None, name: str) -> None:
    kept, unseen = question_sets(Settings(questions=questions, validation=validation, validation_questions=7))
    assert (len(kept.questions), len(unseen.questions)) == (20, 7)
    assert unseen.name == name


def write(path: Path, count: int) -> str:
    lines = [{"id": f"q{n}", "question": f"Who {n}?", "answers": ["x"]} for n in range(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return f"jsonl:{path}"


@pytest.mark.parametrize(("count", "most", "held"), [(40, 100, 4), (40, 3, 3), (2, 100, 1)])
def test_other_questions_are_held_out_by_the_hash_of_their_ids(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, count: int, most: int, held: int
) -> None:
    questions = write(tmp_path / "a.jsonl", count)
    kept, unseen = question_sets(Settings(questions=questions, validation_questions=most))
    ranked = sorted(
        (f"q{n}" for n in range(count)), key=lambda id_: hashlib.blake2b(id_.encode()).hexdigest()
    )
    assert {question.id for question in unseen.questions} == set(ranked[:held])
    assert {question.id for question in kept.questions} == set(ranked[held:])
    assert f"{held} of the {count} questions of {questions} are held out for validation" in caplog.text


def test_a_single_question_cannot_be_held_out(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="has a single question: give validation="):
        question_sets(Settings(questions=write(tmp_path / "a.jsonl", 1)))
