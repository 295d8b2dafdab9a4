from __future__ import annotations

import json
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from igpo_gym.agents.training.settings import Settings
from igpo_gym.benchmark.study.rows import ARMS, RATES, SHARED, STARTS, Tuned, command, parts, rows
from igpo_gym.data import resolve_questions

TUNED = Tuned({"outcome": 1e-4, "gains": 1e-3}, slow=False)


def test_the_rows_are_those_of_the_registration() -> None:
    counts = Counter((row.part, row.arm.name) for row in rows(TUNED))
    assert counts[1, "grpo"] == counts[1, "igpo"] == 9
    assert [counts[2, arm] for arm in ("grpo", "igpo", "igpo-joint")] == [10, 10, 6]
    assert counts[3, "placebo"] == 6
    assert [counts[4, arm] for arm in ("noise", "igpo-3", "permuted-3", "last-gain")] == [8] * 4
    assert [counts[5, f"{arm}-{start}"] for start in STARTS for arm in ("grpo", "igpo")] == [6] * 6
    assert counts[6, "frozen"] == 6
    numbers = [row.part for row in rows(TUNED)]
    assert numbers == sorted(numbers), "each part whole before the next"


def test_the_runs_that_were_made_are_rows_of_this_version() -> None:
    docs = Path(__file__).parents[3] / "docs"
    recorded = [json.loads(line) for line in (docs / "study" / "runs.jsonl").read_text().splitlines()]
    tuned = Tuned({"outcome": 1e-4, "gains": 1e-4}, slow=True)
    hashes = {row.place: row.hash(row.settings(Path("starts"), {})) for row in rows(tuned) if not row.start}
    assert len(recorded) > 18
    for run in recorded:
        place = run["part"], run["arm"], run["seed"], run["learning_rate"]
        assert hashes[place] == run["hash"], "go on with them, instead of making them anew"


def test_a_slow_study_leaves_out_15_percent_and_has_h5_before_h3() -> None:
    assert [part.number for part in parts(slow=True)][:6] == [1, 2, 3, 4, 6, 5]
    arms = {row.arm.name for row in rows(Tuned(TUNED.rates, slow=True))}
    assert "igpo-start-05" in arms
    assert "igpo-start-35" in arms
    assert "igpo-start-15" not in arms


def test_a_part_goes_seed_by_seed_so_that_a_study_cut_short_has_all_arms() -> None:
    second = [(row.seed, row.arm.name) for row in rows(TUNED) if row.part == 2]
    assert second[:4] == [(0, "grpo"), (0, "igpo"), (0, "igpo-joint"), (1, "grpo")]


def test_rates_are_those_of_the_arms_family_and_unknown_before_part_1() -> None:
    rate = {row.arm.name: row.learning_rate for row in rows(TUNED) if row.part > 1}
    assert rate["grpo"] == rate["noise"] == rate["grpo-start-05"] == 1e-4
    assert rate["igpo"] == rate["placebo"] == rate["frozen"] == rate["permuted-3"] == 1e-3
    assert {row.learning_rate for row in rows() if row.part > 1} == {None}
    assert {row.learning_rate for row in rows() if row.part == 1} == set(RATES)


def test_tuning_meets_neither_the_questions_nor_the_seeds_of_the_study(tmp_path: Path) -> None:
    of = {part: [row for row in rows(TUNED) if (row.part == 1) is part] for part in (True, False)}
    assert {row.seed for row in of[True]}.isdisjoint(row.seed for row in of[False])
    first, second = (of[part][0].settings(tmp_path, {}) for part in (True, False))
    for name in ("questions", "validation"):
        ours, theirs = (resolve_questions(getattr(each, name)).questions for each in (first, second))
        assert {q.text for q in ours}.isdisjoint(q.text for q in theirs)
    assert len(resolve_questions(SHARED["validation"]).questions) >= SHARED["validation_questions"]


def test_every_row_has_settings_that_can_be_and_a_hash_of_its_own(tmp_path: Path) -> None:
    for name in STARTS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(name)
    found = [(row, row.settings(tmp_path, {})) for row in rows(TUNED)]
    hashes = {row.hash(settings) for row, settings in found}
    assert len(hashes) == len(found)
    row, settings = next(pair for pair in found if pair[0].arm.name == "igpo-start-15")
    assert settings.questions == "world#questions=2000,hops=3"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "start-15").mkdir()
    (elsewhere / "start-15" / "config.json").write_text("start-15")
    assert row.hash(row.settings(elsewhere, {})) == row.hash(settings), "the files count, not their place"
    (elsewhere / "start-15" / "config.json").write_text("another")
    assert row.hash(row.settings(elsewhere, {})) != row.hash(settings)


def test_a_version_with_further_settings_goes_on_with_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import igpo_gym.benchmark.study.rows as module

    row = next(iter(rows(TUNED)))
    settings = row.settings(tmp_path, {})
    before, told = row.hash(settings), module.shown
    monkeypatch.setattr(module, "shown", lambda settings: told(settings) | {"from_tomorrow_on": 1})
    assert row.hash(settings) == before
    assert row.hash(replace(settings, kl_coef=0.5)) != before
    assert row.hash(replace(settings, learning_rate=0.5)) != before


def test_the_command_is_read_as_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import igpo_gym.agents.training.trainer as trainer
    from igpo_gym.cli import app

    read: list[Settings] = []

    def train(out: Path, settings: Settings, *rest: object, **more: object) -> dict[str, int]:
        read.append(settings)
        return {}

    monkeypatch.setattr(trainer, "train", train)
    for name in ("noise", "permuted-3", "a2tgpo"):
        row = next(row for row in rows(TUNED) if row.arm is ARMS[name])
        settings = row.settings(tmp_path, {})
        threads, program, *words = shlex.split(command(settings, str(tmp_path / "run")))
        assert (threads, program) == ("OMP_NUM_THREADS=1", "igpo-gym")
        assert "--learning-rate" in words, "whatever the default will be"
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
        assert read.pop() == settings
