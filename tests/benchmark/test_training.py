from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.agents.training.advantages import ADVANTAGES
from igpo_gym.agents.training.logs import Metrics
from igpo_gym.agents.training.settings import Settings
from igpo_gym.benchmark.training.bias import drift
from igpo_gym.benchmark.training.measures import (
    MEASURES,
    along,
    chance,
    curves,
    estimates,
    final,
    improvement,
    interquartile_mean,
    over_seeds,
    reached,
)
from igpo_gym.benchmark.training.page import TrainingResult, bias_table, findings, overview, training_files
from igpo_gym.benchmark.training.run import (
    Outcome,
    Variant,
    _folder,
    read_outcomes,
    run_training,
    shared,
    summarized,
)
from igpo_gym.errors import DataError
from igpo_gym.statistics import Estimate

BASE, RIVAL = Variant("outcome-f1", "grpo"), Variant("igpo", "igpo-separate")


def outcome(variant: Variant, seed: int, *heights: float) -> Outcome:
    curve = tuple(
        {"update": 10 * place, "tokens": 100 * place, "seconds": 2.0 * place, "validation_f1": height}
        for place, height in enumerate(heights)
    )
    return Outcome(variant, seed, curve, {"collapsed_groups": 0.25})


OUTCOMES = tuple(
    outcome(variant, seed, 0.1, 0.2 + bonus, 0.3 + bonus + seed / 100)
    for seed in range(4)
    for variant, bonus in ((BASE, 0.0), (RIVAL, 0.2))
)


def test_variants_are_written_as_they_are_read() -> None:
    assert Variant.parse("igpo + 0.1*evidence-recall/grpo") == Variant("igpo + 0.1*evidence-recall", "grpo")
    assert Variant.parse("tips") == Variant("tips", "igpo-separate")
    assert Variant.parse(str(BASE)) == BASE


def test_interquartile_mean_by_hand() -> None:
    assert interquartile_mean(np.array([0.0, 0.4, 0.6, 9.0])) == pytest.approx(0.5)
    assert interquartile_mean(np.array([0.7])) == pytest.approx(0.7)


def test_the_chance_to_beat_by_hand() -> None:
    assert chance(np.array([1.0, 3.0]), np.array([2.0, 1.0])) == pytest.approx((0.5 + 0 + 1 + 1) / 4)
    found = over_seeds([1.0, 3.0, 2.0], [0.0, 0.5, 0.9], statistic=chance)
    assert (found.value, found.low, found.high, found.units) == (1.0, 1.0, 1.0, 3)
    assert math.isnan(over_seeds([0.4], statistic=interquartile_mean).low)
    assert math.isnan(over_seeds([0.4, math.nan], statistic=interquartile_mean).value)


def test_intervals_over_seeds_against_plain_resampling() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.1, 12)
    found = over_seeds(values, statistic=interquartile_mean)
    draw = np.random.default_rng(2)
    middles = [np.sort(draw.choice(values, 12))[3:9].mean() for _ in range(4000)]
    low, high = np.quantile(middles, [0.025, 0.975])
    assert (found.low, found.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))


def test_figures_of_a_curve_by_hand() -> None:
    run = outcome(BASE, 0, 0.1, 0.2, 0.5)
    assert final(run) == 0.5
    assert along(run) == pytest.approx((0.15 + 0.35) / 2)
    assert reached([run, outcome(BASE, 1, 0.1, 0.1, 0.1)], 0.2)[BASE] == (math.inf, 0.5)
    assert reached([run], 0.2)[BASE] == (10, 1.0)


def test_estimates_over_seeds() -> None:
    ends = estimates(OUTCOMES, MEASURES[0])
    assert ends[BASE].value == pytest.approx(0.315)
    assert ends[RIVAL].value == pytest.approx(0.515)
    assert ends[BASE].low <= ends[BASE].value <= ends[BASE].high
    assert improvement(OUTCOMES, BASE)[RIVAL].value == 1.0
    (_, first), (x, middle), _ = curves(OUTCOMES, "tokens")[RIVAL]
    assert (first.value, x, middle.value) == (pytest.approx(0.1), 100, pytest.approx(0.4))


def test_a_log_comes_to_a_curve_and_means() -> None:
    log: list[Metrics] = [
        {"update": 0, "validation_f1": 0.1},
        {"update": 1, "tokens": 50, "seconds": 1.0, "kl": 0.2},
        {"update": 2, "tokens": 90, "seconds": 2.0, "kl": 0.4, "validation_f1": 0.3},
    ]
    made = summarized(BASE, 3, log)
    assert made.curve == (
        {"tokens": 0, "seconds": 0.0, "update": 0, "validation_f1": 0.1},
        {"tokens": 90, "seconds": 2.0, "update": 2, "validation_f1": 0.3},
    )
    assert made.means == {"kl": pytest.approx(0.3)}


def test_the_report_says_what_was_found() -> None:
    bias = {
        "grpo": {"answers": Estimate(0.0, -0.1, 0.1, 9)},
        "igpo-joint": {"answers": Estimate(2.0, 1.9, 2.1, 9)},
    }
    settings = {
        "model": "nano",
        "updates": 20,
        "batch_questions": 4,
        "group_size": 8,
        "questions": "world",
        "validation": "world:validation",
        "validation_questions": 100,
        "validation_temperature": 1.0,
    }
    result = TrainingResult(OUTCOMES, BASE, settings, bias)
    said = " ".join(findings(result))
    assert "Best F1 at the end: igpo / igpo-separate, 0.5" in said
    assert "surely better than all others" in said
    assert "surely above one half for igpo / igpo-separate" in said
    assert "drift in length on noise: igpo-joint (answers" in said
    scores, behavior = overview(result)
    assert [row[0].text for row in scores.rows] == [str(BASE), str(RIVAL)]
    assert [row[1].best for row in scores.rows] == [False, True]
    assert "collapsed groups" in behavior.header
    assert result.threshold == pytest.approx(0.315)
    assert [cell.text for cell in bias_table(result).rows[1]] == ["igpo-joint", "2.00"]
    files = training_files(result)
    assert "Learning curves" in files["report.html"]
    assert len(files["curves.csv"].splitlines()) == 1 + len(OUTCOMES) * 3
    assert len(json.loads(files["training.json"])["runs"]) == len(OUTCOMES)


def test_one_seed_shows_no_difference() -> None:
    result = TrainingResult(OUTCOMES[:2], BASE, shared(SMALL), {})
    said = " ".join(findings(result))
    assert "Best F1 at the end: igpo / igpo-separate, 0.50; with one seed there are no intervals" in said
    assert "surely better" not in said
    assert not any(cell.best for table in overview(result) for row in table.rows for cell in row)
    assert "with one seed" in training_files(result)["report.html"]


@pytest.mark.parametrize("name", ADVANTAGES)
def test_estimators_that_compare_like_with_like_do_not_drift_on_noise(name: str) -> None:
    answers, penalties = (drift(name, outcome, batches=150).value for outcome in (1.0, -2.0))
    if (
        name == "igpo-joint"
    ):  # an average gain is less than the mean of gains and answers, more than penalties
        assert answers > 1
        assert penalties < -1
    else:
        assert abs(answers) < 0.25
        assert abs(penalties) < 0.25


SMALL = Settings(
    model="nano",
    questions="world:train#documents=60,questions=20",
    validation="world:validation#documents=60,questions=20",
    batch_questions=1,
    group_size=2,
    max_turns=2,
    max_tokens=8,
    updates=1,
    validation_questions=2,
)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Variant, int]]:
    """The runs that were made, each of which takes no time and leaves a log."""
    made = []

    def train(folder: Path, settings: Settings, report: Callable[[Metrics], None]) -> None:
        made.append((Variant(settings.reward, settings.advantages), settings.seed))
        folder.mkdir(parents=True)  # which no other run has
        lines = [
            {"update": 0, "validation_f1": 0.1},
            {"update": 1, "tokens": 9, "seconds": 1.0, "f1": 0.2, "validation_f1": 0.3},
        ]
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    monkeypatch.setattr("igpo_gym.agents.training.trainer.train", train)
    return made


def test_a_benchmark_goes_on_after_a_line_that_was_cut_short(
    trained: list[tuple[Variant, int]], tmp_path: Path
) -> None:
    whole = run_training(tmp_path, SMALL, (BASE, RIVAL), 1)
    path = tmp_path / "runs.jsonl"
    lines = path.read_text()
    path.write_text(lines[:-40])
    shutil.rmtree(tmp_path / "runs")
    trained.clear()
    assert run_training(tmp_path, SMALL, (BASE, RIVAL), 1) == whole
    assert trained == [(RIVAL, 0)]
    assert path.read_text() == lines
    assert run_training(tmp_path, SMALL, (BASE, RIVAL), 1) == whole


def test_a_benchmark_of_a_model_that_is_another_by_now_is_left_alone(
    trained: list[tuple[Variant, int]], tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    config = tmp_path / "model" / "config.json"
    config.touch()
    settings = replace(SMALL, model=str(config.parent))
    first = run_training(tmp_path, settings, (BASE,), 1)
    config.write_text("{}")
    with pytest.raises(DataError, match=r"other settings \(model_fingerprint\)"):
        run_training(tmp_path, settings, (BASE, RIVAL), 1)
    path = tmp_path / "runs.jsonl"
    record = json.loads(path.read_text())
    record["settings"] = shared(settings)  # as before there were fingerprints
    path.write_text(json.dumps(record) + "\n")
    assert run_training(tmp_path, settings, (BASE,), 1) == first


def test_a_variant_that_comes_twice_is_trained_once(
    trained: list[tuple[Variant, int]], tmp_path: Path
) -> None:
    variants = [Variant.parse("igpo"), Variant.parse("igpo/igpo-separate")]
    made = run_training(tmp_path, SMALL, variants, 2)
    assert trained == [(each.variant, each.seed) for each in made] == [(RIVAL, 0), (RIVAL, 1)]


names = st.text(st.sampled_from("aA1 _-+*./,%")) | st.text()


@given(names, names, names, names)
def test_variants_that_differ_have_folders_that_differ(a: str, b: str, c: str, d: str) -> None:
    folders = {_folder(Path("out"), variant, SMALL) for variant in (Variant(a, b), Variant(c, d))}
    assert len(folders) == (2 if (a, b) != (c, d) else 1)


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        (BASE, "outcome-f1,grpo"),
        (RIVAL, "igpo,igpo-separate"),
        (Variant("igpo + 0.1*redundancy", "grpo"), "igpo_+_0.1%2Aredundancy,grpo"),
        (Variant("igpo - 0.1*redundancy", "reinforce++"), "igpo_-_0.1%2Aredundancy,reinforce++"),
    ],
)
def test_a_folder_tells_the_variant_and_the_seed(variant: Variant, name: str) -> None:
    assert _folder(Path("out"), variant, SMALL) == Path("out") / "runs" / name / "seed-0"


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "{}",
        '{"settings": []}',
        '{"settings": {}, "variant": 5, "seed": 0, "curve": [], "means": {}}',
        '{"settings": {}, "variant": ["igpo", "grpo"], "seed": 0, "curve": [5], "means": {}}',
        '{"settings": {}, "variant": ["igpo", "grpo"], "seed": 0, "curve": [], "means": 5}',
    ],
)
def test_a_line_that_is_no_run_is_told(line: str, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=r"runs\.jsonl, line 1: not a finished run"):
        list(read_outcomes(path))


@pytest.mark.slow
def test_a_benchmark_trains_what_is_missing(tmp_path: Path) -> None:
    told = []
    first = run_training(tmp_path, SMALL, (BASE, RIVAL), 1, lambda *each: told.append(each[:2]))
    assert set(told) == {(BASE, 0), (RIVAL, 0)}
    told.clear()
    again = run_training(tmp_path, SMALL, (RIVAL, BASE), 1, lambda *each: told.append(each[:2]))
    assert not told
    assert again == first[::-1]
    assert list(read_outcomes(tmp_path / "runs.jsonl")) == first
    with pytest.raises(DataError, match=r"other settings \(epochs\)"):
        run_training(tmp_path, replace(SMALL, epochs=1), (BASE,), 1)


@pytest.mark.slow
def test_runs_side_by_side_are_those_made_one_by_one(tmp_path: Path) -> None:
    one, many = [], []
    alone = run_training(tmp_path / "one", SMALL, (BASE, RIVAL), 1, lambda *each: one.append(each[:2]))
    beside = run_training(
        tmp_path / "many", SMALL, (BASE, RIVAL), 1, lambda *each: many.append(each[:2]), jobs=2
    )
    assert sorted(many) == sorted(one)
    for a, b in zip(alone, beside, strict=True):
        assert (a.variant, a.seed) == (b.variant, b.seed)
        for before, after in zip(a.curve, b.curve, strict=True):
            assert before | {"seconds": 0} == pytest.approx(after | {"seconds": 0}, abs=1e-4)


@pytest.mark.slow
def test_a_run_that_fails_ends_the_benchmark(tmp_path: Path) -> None:
    settings = replace(SMALL, questions=f"jsonl:{tmp_path / 'missing.jsonl'}")
    with pytest.raises(DataError, match="missing"):
        run_training(tmp_path, settings, (BASE, RIVAL), 2, jobs=2)
