from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from igpo_gym.agents.policies.language_model import LanguageModelPolicy
from igpo_gym.agents.rollouts.records import read_rollouts
from igpo_gym.agents.training import trainer
from igpo_gym.agents.training.checkpoint import write_checkpoint
from igpo_gym.agents.training.folder import agree, keep
from igpo_gym.agents.training.logs import read_log
from igpo_gym.agents.training.samples import samples
from igpo_gym.agents.training.settings import Settings
from igpo_gym.agents.training.trainer import train
from igpo_gym.errors import SpecError

SMALL = {
    "model": "nano",
    "questions": "world:train#documents=60,questions=20,hops=1-2",
    "validation": "world:validation#documents=60,questions=20,hops=1-2",
    "batch_questions": 2,
    "group_size": 2,
    "max_turns": 2,
    "top_k": 1,
    "max_tokens": 16,
    "updates": 4,
    "validate_every": 2,
    "validation_questions": 4,
}


@pytest.mark.parametrize("scorer", ["policy", "none"])
def test_a_question_that_the_model_cannot_read_does_not_end_a_run(scorer: str, tmp_path: Path) -> None:
    texts = ["Who? " * 3000, "Who wrote it?"]
    asked = [{"id": f"{n}", "question": text, "answers": ["Grass"]} for n, text in enumerate(texts)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(each) + "\n" for each in asked))
    (tmp_path / "c.jsonl").write_text(json.dumps({"id": "1", "title": "Tin Drum", "text": "By Grass."}))
    place = {"questions": f"jsonl:{tmp_path}/q.jsonl", "validation": f"jsonl:{tmp_path}/q.jsonl"}
    settings = {**SMALL, **place, "search": f"bm25:{tmp_path}/c.jsonl", "updates": 3, "seed": 1}
    settings |= {"scorer": scorer, "reward": "igpo" if scorer == "policy" else "outcome-f1"}
    train(tmp_path / "run", Settings(**settings, epochs=1))
    log = read_log(tmp_path / "run" / "log.jsonl")
    assert 0 < sum(line.get("end_aborted", 0) for line in log) < 3
    assert log[-1]["validation_end_aborted"] == 0.5
    assert all(math.isfinite(value) for line in log for value in line.values())
    assert all(line["completion_tokens"] > 0 for line in log if line.get("end_aborted") == 0.5)
    kept = list(read_rollouts(samples(tmp_path / "run" / "samples")[-1]))
    assert [each.question.text for each in kept] == ["Who wrote it?"]


def test_a_validation_of_which_the_model_can_read_nothing_is_an_error(tmp_path: Path) -> None:
    asked = {"id": "1", "question": "Who? " * 3000, "answers": ["Grass"]}
    (tmp_path / "q.jsonl").write_text(json.dumps(asked))
    (tmp_path / "c.jsonl").write_text(json.dumps({"id": "1", "title": "Tin Drum", "text": "By Grass."}))
    place = {"validation": f"jsonl:{tmp_path}/q.jsonl", "search": f"bm25:{tmp_path}/c.jsonl"}
    settings = {**SMALL, **place}
    with pytest.raises(SpecError, match="cannot read the prompt of any question of the validation"):
        train(tmp_path / "run", Settings(**settings))


def test_a_run_that_is_shortened_to_what_it_has_made_ends_with_a_validation(tmp_path: Path) -> None:
    made: list[dict[str, float]] = []
    long = Settings(**{**SMALL, "validate_every": 9, "updates": 9})
    train(tmp_path, long, made.append, stop=lambda: len(made) == 3)
    assert "validation_f1" not in made[-1]
    for _ in range(2):
        train(tmp_path, replace(long, updates=2))
    log = read_log(tmp_path / "log.jsonl")
    assert [(line["update"], "validation_f1" in line) for line in log] == [
        (0, True),
        (1, False),
        (2, False),
        (2, True),
    ]
    assert log[3]["tokens"] == log[2]["tokens"]
    assert (tmp_path / "last" / "model.safetensors").exists()
    train(tmp_path, replace(long, updates=3))  # and it can go on
    assert read_log(tmp_path / "log.jsonl")[-1]["update"] == 3


def test_how_much_a_run_has_made_is_told_by_its_checkpoint(tmp_path: Path) -> None:
    keep(tmp_path, Settings(**SMALL))
    (tmp_path / "log.jsonl").write_text("".join(f'{{"update": {n}}}\n' for n in range(4)))
    write_checkpoint(tmp_path / "state.pt", {"progress": (2, 0, 0.0, 0.0)})
    agree(tmp_path, Settings(**{**SMALL, "updates": 2}))
    with pytest.raises(ValueError, match="has made 2 updates already"):
        agree(tmp_path, Settings(**{**SMALL, "updates": 1}))


@pytest.mark.parametrize("scorer", ["policy", "frozen", "none"])
def test_a_run_logs_its_updates_and_keeps_its_models(scorer: str, tmp_path: Path) -> None:
    reward = "outcome-f1" if scorer == "none" else "igpo"
    settings = Settings(**{**SMALL, "updates": 2}, epochs=1, scorer=scorer, reward=reward)
    told: list[dict[str, float]] = []
    for name in (".best-killed", ".last-killed"):
        (tmp_path / name / "new").mkdir(parents=True)
    train(tmp_path, settings, told.append)
    log = read_log(tmp_path / "log.jsonl")
    assert [line["update"] for line in log] == [0, 1, 2]
    assert log == told
    assert {"validation_f1", "validation_em"} <= log[0].keys() & log[2].keys()
    assert log[1]["log_prob_gap"] < 1e-4
    assert log[1]["kl"] == pytest.approx(0, abs=1e-6)  # before the first step
    assert log[1]["frac_reward_zero_std"] <= log[1]["collapsed_groups"] <= 1
    assert {"grad_norm", "completion_tokens", "entropy"} <= log[1].keys()
    assert all(math.isfinite(value) for line in log for value in line.values())
    assert 0.5 < sum(value for name, value in log[1].items() if name.startswith("share_")) <= 1
    assert (log[1]["share_scoring"] > 0) == (scorer != "none")
    for name in ("best", "last"):
        assert LanguageModelPolicy.load(tmp_path / name)
        assert not list(tmp_path.glob(f".{name}-*"))


def weights_differ(model: PreTrainedModel, other: PreTrainedModel) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.slow
def test_the_default_settings_give_these_figures(tmp_path: Path) -> None:
    """Of four updates: where they change, so does what everybody's runs come to."""
    train(tmp_path, Settings(**SMALL))
    log = read_log(tmp_path / "log.jsonl")[1:]
    for name, expected in FIGURES.items():
        assert [line[name] for line in log] == pytest.approx(expected, rel=1e-3)


FIGURES = {
    "reward": [-1.023282213703542, -1.4816657685343233, -2.1600618293643365, -2.0961845851333663],
    "loss": [0.02923961728811264, 0.04755236208438873, 0.004362858831882477, -0.039813872426748276],
    "grad_norm": [0.18160685896873474, 0.5172370076179504, 0.12049455940723419, 0.38828322291374207],
    "kl": [0.006784374359995127, 0.005042185075581074, 0.007976353168487549, 0.024716289713978767],
    "entropy": [0.04946908354759216, 0.11942271466525096, 0.16845853432365085, 0.23421805245535715],
    "gain": [0.9674320277479392, 0.5192817020356066, -0.04843961322864496, -0.09668155229088932],
}


def test_a_rate_that_ends_with_the_run_forbids_a_longer_one(tmp_path: Path) -> None:
    keep(tmp_path, Settings(**SMALL, schedule="cosine"))
    with pytest.raises(ValueError, match="updates"):
        agree(tmp_path, Settings(**{**SMALL, "updates": 9}, schedule="cosine"))
    agree(tmp_path, Settings(**SMALL, schedule="cosine", cache_gib=1.0, sampler="http://127.0.0.1:8000"))


def test_the_plan_is_told_before_a_run_and_one_that_cannot_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(trainer, "Run", lambda *arguments: pytest.fail("loaded"))
    with pytest.raises(SpecError, match=r"the run cannot fit: it needs .*; it would with --batch-gib 1\.0"):
        train(tmp_path, Settings(**SMALL, batch_gib=1e6), tell=told.append)
    assert told[0].startswith("memory of nano in fp32 on cpu, in GiB: at most ")
    assert not (tmp_path / "settings.json").exists()


RUN = """
import json, os, signal, sys
from pathlib import Path
import torch
from igpo_gym.agents.training.trainer import train
from igpo_gym.agents.training.settings import Settings

torch.set_num_threads(1)
out, settings, last = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])

def report(metrics):
    if metrics["update"] == last:
        os.kill(os.getpid(), signal.SIGKILL)

train(out, Settings(**settings), report)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reward", "scorer"), [("igpo", "policy"), ("igpo", "refreshed:1"), ("tips", "none")]
)
def test_a_killed_run_ends_as_one_that_was_not(reward: str, scorer: str, tmp_path: Path) -> None:
    def run(name: str, killed_at: int) -> int:
        settings = json.dumps({**SMALL, "reward": reward, "scorer": scorer, "learning_rate": 0.001})
        command = [sys.executable, "-c", RUN, str(tmp_path / name), settings, str(killed_at)]
        return subprocess.run(command, timeout=600).returncode

    assert run("whole", -1) == 0
    assert [run("killed", 0), run("killed", 3), run("killed", -1)] == [-signal.SIGKILL, -signal.SIGKILL, 0]
    for file in ("last/model.safetensors", "best/model.safetensors"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    whole, killed = (timeless(read_log(tmp_path / name / "log.jsonl")) for name in ("whole", "killed"))
    assert killed == whole


def timeless(log: list[dict[str, float]]) -> list[dict[str, float]]:
    timed = ("seconds", "tokens_per_second", "share_")
    return [{name: value for name, value in line.items() if not name.startswith(timed)} for line in log]


def test_a_folder_with_a_run_of_other_settings_is_left_alone(tmp_path: Path) -> None:
    keep(tmp_path, Settings(**SMALL))
    agree(tmp_path, Settings(**{**SMALL, "updates": 9}))
    with pytest.raises(ValueError, match=r"other settings \(seed, kl_coef\)"):
        agree(tmp_path, Settings(**SMALL, seed=1, kl_coef=0.5))
    assert json.loads((tmp_path / "settings.json").read_text())["seed"] == 0
    keep(tmp_path / "b", Settings(**SMALL, curriculum=True))
    with pytest.raises(ValueError, match="updates"):
        agree(tmp_path / "b", Settings(**{**SMALL, "updates": 9}, curriculum=True))


def test_a_run_whose_model_or_questions_are_others_by_now_is_left_alone(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("model/config.json", "questions.jsonl", "index/manifest.json")]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    changes = {"model": str(tmp_path / "model"), "search": f"bm25:{tmp_path / 'index'}"}
    settings = Settings(**{**SMALL, **changes, "questions": f"jsonl:{tmp_path / 'questions.jsonl'}"})
    run = tmp_path / "run"
    keep(run, settings)
    for file in files:
        os.utime(file, (1, 1))
    agree(run, settings)  # the time does not count
    for file in files:
        file.write_text("{}")
    changed = r"\(questions_fingerprint, search_fingerprint, model_fingerprint\)"
    with pytest.raises(ValueError, match=changed):
        agree(run, settings)
    kept = json.loads((run / "settings.json").read_text())  # as a run has it that knew no fingerprints
    old = {name: value for name, value in kept.items() if not name.endswith("_fingerprint")}
    (run / "settings.json").write_text(json.dumps(old))
    agree(run, settings)
