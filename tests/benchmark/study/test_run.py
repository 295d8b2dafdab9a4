from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from igpo_gym.agents.rollouts.costs import Budget, Meter, Spent
from igpo_gym.agents.training.logs import Metrics
from igpo_gym.agents.training.settings import Settings
from igpo_gym.benchmark.study.records import RUNS, read_runs
from igpo_gym.benchmark.study.rows import RATES, rows
from igpo_gym.benchmark.study.run import (
    Study,
    again,
    core_hours,
    equal_curves,
    run_study,
    study_run,
    tuned,
)
from igpo_gym.benchmark.training.run import Job, cpu_seconds, trained
from igpo_gym.errors import BudgetSpentError, DataError, SpecError

TINY = (
    ("updates", 2),
    ("validate_every", 1),
    ("validation_questions", 2),
    ("batch_questions", 1),
    ("group_size", 2),
    ("max_turns", 2),
    ("max_tokens", 8),
    ("questions", "world:train#documents=60,questions=20"),
    ("validation", "world:validation#documents=60,questions=20"),
)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The runs that were made, each of which takes no time and leaves a log: 7 s an update by the clock of
    the process, and 10 s a validation."""
    found: list[Settings] = []
    clock = [0.0]
    monkeypatch.setattr("igpo_gym.benchmark.training.run.time.process_time", lambda: clock[0])

    def train(
        folder: Path,
        settings: Settings,
        report: Callable[[Metrics], None],
        stop: Callable[[], bool],
        meter: object = None,
    ) -> None:
        found.append(settings)
        folder.mkdir(parents=True, exist_ok=True)
        f1 = 0.3 + 100 * settings.learning_rate * (settings.reward == "igpo") + settings.seed / 1000
        lines: list[Metrics] = []
        for update, tokens, validated in ((0, 0, 0.1), (1, 9, None), (2, 20, f1)):
            line = {"update": update, "tokens": tokens, "seconds": 9.0 * update}
            if validated is not None:
                line |= {"validation_f1": validated, "validation_f1_hops_3": validated}
            lines.append(line)
            (folder / "log.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
            clock[0] += 7.0 * (update > 0) + 10.0 * (validated is not None)
            report(line)

    monkeypatch.setattr("igpo_gym.agents.training.trainer.train", train)
    return found


def test_part_1_decides_the_rates_and_whether_the_study_is_slow(made: list[Settings], tmp_path: Path) -> None:
    study = Study(tmp_path / "study", tmp_path / "starts", TINY)
    with pytest.raises(SpecError, match="run part 1 first"):
        run_study(study, part=2)
    run_study(study, part=1)
    assert len(made) == 18
    found = tuned(study.runs())
    assert found is not None
    assert found.rates == {"outcome": RATES[0], "gains": RATES[2]}, "of equals the lower"
    assert found.slow, "7 seconds an update"
    first = study.runs()[0]
    assert (first.core_seconds, first.update_seconds) == (34.0, 7.0)
    made.clear()
    run_study(study, part=1)
    assert not made, "what is there is not made again"


def test_a_study_goes_on_part_by_part_until_it_lacks_a_model(made: list[Settings], tmp_path: Path) -> None:
    study = Study(tmp_path / "study", tmp_path / "starts", TINY)
    with pytest.raises(SpecError, match=r"begins with start-05, .*python -m nano\.starts"):
        run_study(study)
    assert [run.part for run in study.runs()] == [1] * 18 + [2] * 26 + [3] * 6 + [4] * 32 + [6] * 6
    text = (study.out / RUNS).read_text()
    assert len(text) / 80 * 160 < 1e6, "runs.jsonl stays below 1 MB"
    (name, of, there, left) = core_hours(study)[0]
    assert (name, of, there, left) == ("1 tuning", 18, 18, 0)
    assert next(each for each in core_hours(study) if each[0].startswith("5"))[1:3] == (24, 0)


def test_a_part_that_is_made_needs_its_models_no_more(made: list[Settings], tmp_path: Path) -> None:
    study = Study(tmp_path / "study", tmp_path / "starts", TINY)
    run_study(study, part=1)
    run = asdict(study.runs()[0])
    part = [row for row in rows(tuned(study.runs())) if row.start is not None]
    with (study.out / RUNS).open("a") as file:
        for number, row in enumerate(part):
            arm = {"arm": row.arm.name, "seed": row.seed, "learning_rate": row.learning_rate}
            told = {"variant": (row.arm.reward, row.arm.advantages), "seed": row.seed}
            outcome = run["outcome"] | told
            line = run | arm | {"hash": f"start{number}", "part": row.part, "outcome": outcome}
            file.write(json.dumps(line) + "\n")
    made.clear()
    run_study(study, part=part[0].part)
    assert not made
    assert next(each for each in core_hours(study) if each[0].startswith("5"))[1:] == (24, 24, 0)


def test_a_study_whose_budget_is_used_up_goes_on_later(made: list[Settings], tmp_path: Path) -> None:
    study = Study(tmp_path / "study", tmp_path / "starts", TINY)
    meter = Meter(Budget.parse("tokens=5"))
    meter.add(Spent(tokens=5))
    with pytest.raises(BudgetSpentError, match="0 of 18 missing runs of part 1 are done"):
        run_study(study, meter=meter)
    assert not made
    assert study.runs() == []


def test_a_row_is_made_again_alone(made: list[Settings], tmp_path: Path) -> None:
    study = Study(tmp_path / "study", tmp_path / "starts", TINY)
    run_study(study, part=1)
    recorded = study.runs()[3]
    run, before = again(study, recorded.hash[:8])
    assert before == recorded
    assert equal_curves(run, recorded)
    assert run.command.startswith(f"OMP_NUM_THREADS=1 igpo-gym train runs/{recorded.hash} ")
    made.clear()
    again(study, recorded.hash)
    assert len(made) == 1, "it is trained anew"
    with pytest.raises(SpecError, match="0 rows have a hash"):
        again(study, "zzz")


def test_a_line_that_was_cut_short_is_made_up_for(made: list[Settings], tmp_path: Path) -> None:
    study = Study(tmp_path / "study", tmp_path / "starts", TINY)
    run_study(study, part=1)
    path = study.out / RUNS
    whole = study.runs()
    path.write_text(path.read_text()[:-30])
    assert study.runs() == whole[:-1]
    run_study(study, part=1)
    assert [run.hash for run in study.runs()] == [run.hash for run in whole]
    for damaged in ('{"hash": "x"}\n', '{"hash": \n'):
        path.write_text(damaged)
        with pytest.raises(DataError, match=r"runs\.jsonl, line 1: not a run of the study"):
            list(read_runs(path))


def test_what_a_run_took_until_it_was_killed_is_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = iter([0.0, 5.0, 5.0, 12.0, 12.0])
    monkeypatch.setattr("igpo_gym.benchmark.training.run.time.process_time", lambda: next(clock))

    def train(folder: Path, settings: Settings, report: Callable[[Metrics], None], **_: object) -> None:
        folder.mkdir()
        report({"update": 0, "validation_f1": 0.1})
        report({"update": 1})
        raise KeyboardInterrupt

    monkeypatch.setattr("igpo_gym.agents.training.trainer.train", train)
    with pytest.raises(KeyboardInterrupt):
        list(trained([Job(tmp_path / "run", Settings())]))
    assert cpu_seconds(tmp_path / "run") == (12.0, 7.0)


def test_runs_that_were_not_made_alike_are_not_mixed(made: list[Settings], tmp_path: Path) -> None:
    study = Study(tmp_path / "study", tmp_path / "starts", TINY)
    run_study(study, part=1)
    with pytest.raises(SpecError, match="with other settings or models"):
        run_study(replace(study, changed=(*TINY, ("kl_coef", 0.5))), part=1)
    path = study.out / RUNS
    first = path.read_text().splitlines(keepends=True)[0]
    path.write_text(path.read_text() + first.replace('"hash": "', '"hash": "0'))
    with pytest.raises(DataError, match=r"line 19: a second run of part 1: grpo, seed 100"):
        study.runs()


@pytest.mark.slow
def test_a_run_that_was_stopped_by_the_clock_goes_on_to_the_same_end(tmp_path: Path) -> None:
    from igpo_gym.agents.training.trainer import train

    study = Study(tmp_path / "study", tmp_path / "starts", TINY)
    row = next(row for row in rows() if row.arm.name == "igpo")
    settings = study.settings(row)
    assert settings is not None
    train(tmp_path / "whole", settings)
    asked = iter([False, True])
    train(tmp_path / "parts", settings, stop=lambda: next(asked))
    assert not (tmp_path / "parts" / "last").exists()
    train(tmp_path / "parts", settings)
    one, two = (tmp_path / name / "last" / "model.safetensors" for name in ("whole", "parts"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("placebo", "reward_placebo-gain"),
        ("noise", "noisy_episodes"),
        ("permuted-3", "unmoved_episodes"),
        ("last-gain", "reward_gain"),
        ("frozen-nano", "gain"),
        ("tips", "reward_teacher-gain"),
    ],
)
def test_arms_train(name: str, told: str, tmp_path: Path) -> None:
    study = Study(tmp_path, tmp_path / "starts", TINY)
    row = replace(next(row for row in rows() if row.arm.name == name), learning_rate=RATES[0])
    settings = study.settings(row)
    assert settings is not None
    job = Job(tmp_path / "run", settings)
    assert list(trained([job], threads=1)) == [job]
    run = study_run(row, job)
    assert told in run.outcome.means
    assert [point["update"] for point in run.outcome.curve] == [0, 1, 2]
    assert any("validation_f1_hops_" in key for key in run.outcome.curve[-1])
    assert run.core_seconds > 0
