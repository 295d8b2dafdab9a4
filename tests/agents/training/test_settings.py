from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest

from igpo_gym.agents.training.settings import Settings, agree, question_sets
from igpo_gym.config import EnvConfig
from igpo_gym.episode import Question
from igpo_gym.errors import DataError, SpecError


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"advantages": "ppo"}, "unknown advantage estimator 'ppo'; choose one of: a2tgpo"),
        ({"advantages": "rebn", "curriculum": True}, "the curriculum is for igpo"),
        (
            {"advantages": "noise(of=igpo-separate)", "curriculum": True},
            "the curriculum is for igpo",
        ),
        ({"reward": "gold"}, "unknown reward 'gold'"),
        ({"protocol": "xml"}, "unknown protocol 'xml'"),
        ({"scorer": "none"}, "reward 'igpo' needs a scorer"),
        ({"updates": 0}, "updates must be a whole number of at least 1, not 0"),
        ({"kl_coef": -1.0}, "kl_coef must not be negative"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        (
            {"advantages": "grpo"},
            r"grpo takes the outcome alone, but .* pays gains \(gain\): choose .*igpo-joint",
        ),
        ({"advantages": "a2tgpo(beta=1)"}, "'a2tgpo' has no parameter 'beta'; it has: alpha, clip_low"),
        ({"advantages": "vine"}, "take f1 \\+ value-gain"),
        ({"group_size": 1}, r"no group can be compared.*at least 2.*\(reinforce\+\+, rebn, vine\)"),
        ({"seed": -1}, "seed must be a whole number of at least 0, not -1"),
        ({"clip": 1.5}, "clip must be between 0 and 1"),
        ({"max_norm": 0.0}, "max_norm must be above 0, not 0.0"),
        ({"max_norm": -1.0}, "max_norm must be above 0"),
        ({"gamma": -3.0}, "gamma must be between 0 and 1"),
        ({"gamma": math.nan}, "gamma must be a finite number, not nan"),
        ({"temperature": math.inf}, "temperature must be a finite number"),
        ({"kl_coef": math.nan}, "kl_coef must be a finite number"),
        ({"learning_rate": -1.0}, "learning_rate must not be negative"),
        ({"learning_rate": "1e-5"}, "learning_rate must be a number, not '1e-5'"),
        ({"batch_questions": "4"}, "batch_questions must be a whole number of at least 1, not '4'"),
        ({"updates": 2.5}, "updates must be a whole number of at least 1, not 2.5"),
        ({"epochs": True}, "epochs must be a whole number of at least 1, not True"),
        ({"lora": 1.5}, "lora must be a whole number of at least 0, not 1.5"),
        ({"curriculum": "no"}, "curriculum must be true or false, not 'no'"),
        ({"sampler": None}, "sampler must be a text, not None"),
        ({"loss": "token_mean"}, "unknown loss 'token_mean'; did you mean token-mean"),
        ({"ratio": "Turn"}, "unknown ratio 'Turn'; did you mean turn"),
        ({"optimizer": "adam"}, "unknown optimizer 'adam'; did you mean adamw"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin'"),
        ({"precision": "fp16"}, "unknown precision 'fp16'"),
        ({"advantages": "a2tgpo(clip_width=5)"}, "clip_width between 0 and 1"),
        ({"advantages": "a2tgpo(clip_low=-1)"}, "clip_low is at least 0"),
        ({"scorer": "refreshed"}, "refreshed:10"),
        ({"scorer": "refreshed:0"}, "refreshed:10"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        Settings(**settings)


def test_when_a_scorer_is_refreshed() -> None:
    assert Settings(scorer="refreshed:12").refresh_every == 12
    assert Settings(scorer="frozen").refresh_every is None


def test_a_group_of_one_is_enough_where_groups_are_not_compared() -> None:
    assert Settings(group_size=1, advantages="rebn").group_size == 1


def test_a_run_takes_what_it_can_write_down() -> None:
    with pytest.raises(SpecError, match="questions must be a text or a number, which a run can write down"):
        Settings(questions=[Question("1", "?", ("a",))])
    with pytest.raises(SpecError, match="oracle_info is no setting of a training run"):
        Settings(oracle_info=True)
    with pytest.raises(SpecError, match="top_k must be a whole number of at least 1"):
        Settings(top_k=0)


def test_the_environment_of_a_run_is_described_by_its_fields() -> None:
    settings = Settings(top_k=5, on_limit="answer", group_size=2)
    expected = EnvConfig(top_k=5, on_limit="answer", group_size=2, scorer="policy")
    assert settings.environment == expected


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


@pytest.mark.parametrize("content", ["[]", "3", '"text"', "null", "{", "[" * 100_000, "\ud800"])
def test_settings_that_are_damaged_are_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match=r"settings\.json: .*choose another folder"):
        agree(tmp_path, Settings())
