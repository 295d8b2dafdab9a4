from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test, ttest_rel

from igpo_gym.agents.training.alarms import ALARMS
from igpo_gym.agents.training.estimators import ESTIMATORS
from igpo_gym.agents.training.logs import Metrics
from igpo_gym.agents.training.settings import Settings
from igpo_gym.benchmark.charts import line_figure
from igpo_gym.benchmark.training.bias import drift
from igpo_gym.benchmark.training.files import training_files
from igpo_gym.benchmark.training.measures import (
    MEASURES,
    against,
    alarm_curves,
    along,
    curves,
    estimates,
    final,
    reached,
)
from igpo_gym.benchmark.training.outcomes import (
    Outcome,
    Variant,
    outcome_of,
    read_outcomes,
    shared,
    summarized,
)
from igpo_gym.benchmark.training.page import baseline_table, bias_table, findings, overview
from igpo_gym.benchmark.training.run import TrainingResult, _folder, run_training
from igpo_gym.errors import DataError, LearningError
from igpo_gym.statistics import over_seeds

BASE, RIVAL = Variant("outcome-f1", "grpo"), Variant("igpo", "igpo-separate")


def outcome(variant: Variant, seed: int, *heights: float) -> Outcome:
    curve = tuple(
        {"update": 10 * place, "tokens": 100 * place, "seconds": 2.0 * place, "validation_f1": height}
        for place, height in enumerate(heights)
    )
    return Outcome(variant, seed, curve, {"collapsed_groups": 0.25})


OUTCOMES = tuple(
    outcome(variant, seed, 0.1, 0.2 + bonus, 0.3 + bonus + place / 100)
    for seed in range(5)
    for variant, bonus, place in ((BASE, 0.0, seed), (RIVAL, 0.2, 2 * seed))
)


def test_variants_are_written_as_they_are_read() -> None:
    assert Variant.parse("igpo + 0.1*evidence-recall/grpo") == Variant("igpo + 0.1*evidence-recall", "grpo")
    assert Variant.parse("tips") == Variant("tips", "igpo-separate")
    assert Variant.parse(str(BASE)) == BASE


def test_variants_are_held_against_the_baseline_by_seed() -> None:
    scores = {BASE: (0.50, 0.46, 0.53, 0.44, 0.52), RIVAL: (0.54, 0.53, 0.58, 0.49, 0.55)}
    third = Variant("tips", "igpo-separate")
    runs = [outcome(v, seed, 0.1, x) for v, found in scores.items() for seed, x in enumerate(found)]
    runs += [outcome(third, seed, 0.1, x) for seed, x in ((0, 0.6), (1, 0.5), (7, 0.0))]
    found = against(runs[::-1], BASE)
    assert found.keys() == {RIVAL, third}
    rival = found[RIVAL]
    assert rival.p == rival.corrected == pytest.approx(ttest_rel(scores[RIVAL], scores[BASE]).pvalue)
    assert rival.exact == pytest.approx(
        permutation_test(
            (scores[RIVAL], scores[BASE]), lambda a, b: np.mean(a) - np.mean(b), n_resamples=np.inf
        ).pvalue
    )
    assert rival.chance == 21.5 / 25, "one of the pairs is a tie"
    assert (found[third].ahead.units, found[third].ahead.value) == (2, pytest.approx(0.07))
    assert math.isnan(found[third].p)


def test_figures_of_a_curve_by_hand() -> None:
    run = outcome(BASE, 0, 0.1, 0.2, 0.5)
    assert final(run) == 0.5
    assert along(run) == pytest.approx((0.15 + 0.35) / 2)
    assert reached([run, outcome(BASE, 1, 0.1, 0.1, 0.1)], 0.2)[BASE] == (math.inf, 0.5)
    assert reached([run], 0.2)[BASE] == (10, 1.0)


def test_estimates_over_seeds() -> None:
    ends = estimates(OUTCOMES, MEASURES[0])
    assert ends[BASE].value == pytest.approx(0.32)
    assert ends[RIVAL].value == pytest.approx(0.54)
    assert ends[BASE].low < ends[BASE].value < ends[BASE].high
    (_, first), (x, middle), _ = curves(OUTCOMES, "tokens")[RIVAL]
    assert (first.value, x, middle.value) == (pytest.approx(0.1), 100, pytest.approx(0.4))


def test_a_log_comes_to_a_curve_and_means() -> None:
    log: list[Metrics] = [
        {"update": 0, "validation_f1": 0.1},
        {"update": 1, "tokens": 50, "seconds": 1.0, "kl": 0.2},
        {"update": 2, "tokens": 90, "seconds": 2.0, "kl": 0.4, "validation_f1": 0.3},
    ]
    made = summarized(BASE, Settings(seed=3, updates=2), log)
    assert made.curve == (
        {"tokens": 0, "seconds": 0.0, "update": 0, "validation_f1": 0.1},
        {"tokens": 90, "seconds": 2.0, "update": 2, "validation_f1": 0.3},
    )
    assert made.means == {"kl": pytest.approx(0.3)}
    assert made.peaks == {}


def test_a_run_that_could_not_go_on_has_scores_of_zero_where_it_lacks_them() -> None:
    first = {
        "validation_f1": 0.5,
        "validation_f1_hops_2": 0.4,
        "validation_em": 0.3,
        "validation_invalid": 0.1,
    }
    log: list[Metrics] = [
        {"update": 0, **first},
        {"update": 10, "tokens": 90, "seconds": 2.0, **dict.fromkeys(first, 0.6)},
        {"update": 14, "tokens": 99, "seconds": 3.0, "kl": 0.2},
    ]
    made = summarized(BASE, Settings(updates=25, validate_every=10), log)
    nothing = {"tokens": 99, "seconds": 3.0} | dict.fromkeys(list(first)[:3], 0.0)
    assert made.curve[2:] == (nothing | {"update": 20}, nothing | {"update": 25})
    assert (made.stopped, final(made)) == (14, 0.0)
    assert outcome_of(json.loads(json.dumps(asdict(made)))) == made
    behavior = {measure.key: measure.of(made) for measure in MEASURES}
    assert (behavior["final_em"], behavior["invalid"]) == (0.0, 0.6)
    told = list(findings(TrainingResult((made,), BASE, shared(SMALL), {})))
    assert (
        "outcome-f1 / grpo, seed 0, could not go on after update 14: its scores count as 0 from there."
        in told
    )


def test_a_log_keeps_the_peaks_of_alarms_and_the_report_tells_of_them() -> None:
    log: list[Metrics] = [
        {"update": 0, "validation_f1": 0.1},
        {"update": 6, "alarm_forged": 0.2},
        {"update": 7, "alarm_forged": 0.05, "validation_f1": 0.3},
    ]
    made = summarized(BASE, Settings(updates=7), log)
    assert made.peaks == {"alarm_forged": 0.2}
    assert made.means == {}
    runs = (replace(made, curve=(made.curve[0], made.curve[1] | {"tokens": 9, "seconds": 1.0})),)
    (point,) = alarm_curves(runs, next(each for each in ALARMS if each.name == "forged"))[BASE]
    assert (point[0], point[1].value) == (7, pytest.approx(0.5))
    result = TrainingResult(runs, BASE, shared(SMALL), {})
    told = "Alarm forged, outcome-f1 / grpo, in 1 of 1 runs: the agent writes replies"
    assert any(each.startswith(told) for each in findings(result))
    assert "Are rewards hacked?" in training_files(result)["report.html"]


def test_a_batch_that_was_not_learned_from_does_not_count_where_it_says_nothing() -> None:
    log: list[Metrics] = [
        {"update": 1, "tokens": 50, "seconds": 1.0, "batches_skipped": 1.0},
        {"update": 2, "tokens": 90, "seconds": 2.0, "batches_skipped": 0.0, "kl": 0.4},
        {"update": 3, "tokens": 99, "seconds": 3.0, "batches_skipped": 0.0, "kl": 0.2},
    ]
    assert summarized(BASE, Settings(updates=3), log).means == {
        "batches_skipped": pytest.approx(1 / 3),
        "kl": pytest.approx(0.3),
    }


def test_the_report_says_what_was_found() -> None:
    draw = np.random.default_rng(0).normal(0, 0.1, 9)
    bias = {
        "grpo": {"answers": over_seeds(draw - draw.mean())},
        "igpo-joint": {"answers": over_seeds(draw + 2.0 - draw.mean())},
    }
    settings = {
        "model": "nano",
        "updates": 20,
        "batch_questions": 4,
        "group_size": 8,
        "questions": "world",
        "validation": "world:validation",
        "validation_questions": 100,
        "gamma": 0.5,
        "validation_temperature": 1.0,
    }
    result = TrainingResult(OUTCOMES, BASE, settings, bias)
    assert bias_table(result).caption.endswith("Gamma is 0.5")
    held_out = training_files(replace(result, settings=settings | {"validation": None}))["report.html"]
    assert "on 100 questions of what is held out for validation." in " ".join(held_out.split())
    said = " ".join(findings(result))
    assert said.startswith("With 5 seeds and 1 to compare with the baseline, a lead in F1 at the end")
    assert "Highest mean F1 at the end: igpo / igpo-separate, 0.54 [" in said
    assert "Against outcome-f1 / grpo in F1 at the end: better igpo / igpo-separate (ahead by 0.22 [" in said
    assert "worse none; not told apart none" in said
    assert "drift in length on noise: igpo-joint (answers" in said
    assert "grpo (answers" not in said
    scores, behavior = overview(result)
    assert [row[0].text for row in scores.rows] == [str(BASE), str(RIVAL)]
    (row,) = baseline_table(result).rows
    assert [row[0].text, row[1].text, row[1].best] == [str(RIVAL), "0.22", True]
    assert row[2].text == row[3].text == "< 0.001"
    assert (row[4].text, row[5].text) == ("0.008", "1.00")
    assert "collapsed groups" in behavior.header
    assert result.threshold == pytest.approx(0.32)
    assert [cell.text for cell in bias_table(result).rows[1]] == ["igpo-joint", "2.00"]
    files = training_files(result)
    assert "Learning curves" in files["report.html"]
    assert len(files["curves.csv"].splitlines()) == 1 + len(OUTCOMES) * 3
    assert len(json.loads(files["training.json"])["runs"]) == len(OUTCOMES)


@pytest.mark.parametrize(("seeds", "words"), [(1, "1 seed shows"), (2, "2 seeds show"), (4, "4 seeds show")])
def test_below_five_seeds_there_is_no_verdict(seeds: int, words: str) -> None:
    result = TrainingResult(OUTCOMES[: 2 * seeds], BASE, shared(SMALL), {})
    first, *rest = findings(result)
    assert first.startswith(f"{words} that the variants train and what they cost, not which is better")
    assert rest == ["Estimators that drift in length on noise: none."]
    cells = [
        cell for table in (*overview(result), baseline_table(result)) for row in table.rows for cell in row
    ]
    assert not any(cell.best or "[" in cell.detail for cell in cells)
    assert words in training_files(result)["report.html"]


@pytest.mark.parametrize("name", ESTIMATORS)
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

    def train(
        folder: Path, settings: Settings, report: Callable[[Metrics], None], stop: object, meter: object
    ) -> None:
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


def test_a_benchmark_goes_on_after_a_run_that_cannot(
    trained: list[tuple[Variant, int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from igpo_gym.agents.training import trainer

    whole = trainer.train

    def train(folder: Path, settings: Settings, *args: Any, **options: Any) -> None:
        whole(folder, replace(settings, updates=1), *args, **options)
        if settings.advantages == "grpo":
            raise LearningError("the gradient is not a finite number")
        (folder / "log.jsonl").open("a").write('{"update": 2, "validation_f1": 0.4}\n')

    monkeypatch.setattr(trainer, "train", train)
    settings = replace(SMALL, updates=2)
    broken, fine = run_training(tmp_path, settings, (BASE, RIVAL), 1)
    assert (broken.stopped, final(broken), fine.stopped, final(fine)) == (1, 0.0, None, 0.4)
    trained.clear()
    assert run_training(tmp_path, settings, (BASE, RIVAL), 1) == [broken, fine]
    assert not trained, "it is not tried again"


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


def test_a_second_run_of_a_variant_and_seed_is_told(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    made = [outcome(BASE, 0, 0.1, 0.4), outcome(RIVAL, 0, 0.1), outcome(BASE, 0, 0.1, 0.5)]
    path.write_text("".join(json.dumps({"settings": {}, **asdict(each)}) + "\n" for each in made))
    with pytest.raises(DataError, match=r"runs\.jsonl, line 3: a second run of outcome-f1 / grpo, seed 0"):
        list(read_outcomes(path))


def test_a_variant_has_one_color_in_all_panels() -> None:
    points = [(1.0, over_seeds([0.1] * 5)), (2.0, over_seeds([0.3] * 5))]
    figure = line_figure({"gains": {"igpo": points}, "lengths": {"grpo": points, "igpo": points}}, "y", 0.2)
    legend = figure.axes[0].get_legend()
    colors = {
        text.get_text(): line.get_color()
        for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
    }
    assert list(colors) == ["igpo", "grpo"]
    drawn = [[line.get_color() for line in axis.get_lines()[:-1]] for axis in figure.axes]  # but the level
    assert drawn == [[colors["igpo"]], [colors["grpo"], colors["igpo"]]]


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


def test_what_is_written_of_a_run_is_read_again_with_its_alarms() -> None:
    outcome = Outcome(BASE, 3, ({"update": 0, "validation_f1": 0.5},), {"loss": 0.1}, {"alarm_forged": 0.7})
    assert outcome_of(json.loads(json.dumps(asdict(outcome)))) == outcome
