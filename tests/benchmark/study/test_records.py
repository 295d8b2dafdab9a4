from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from igpo_gym.benchmark.study.records import read_runs
from igpo_gym.benchmark.study.rows import RATES
from igpo_gym.errors import DataError
from tests.benchmark.study.made import arm, run

RUNS = Path(__file__).parents[3] / "docs" / "study" / "runs.jsonl"


def write(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_runs_are_read_as_they_were_written(tmp_path: Path) -> None:
    runs = [*arm("igpo", [0.5, 0.6]), *arm("grpo", [0.4]), run("grpo", 101, 0.4, 1, RATES[2])]
    assert list(read_runs(write(tmp_path / "runs.jsonl", *map(asdict, runs)))) == runs
    assert list(read_runs(tmp_path / "none.jsonl")) == []


def test_the_runs_of_the_documents_are_read() -> None:
    assert len(list(read_runs(RUNS))) == len(RUNS.read_text().splitlines())


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"arm": "igppo"}, "the study has no row of part 2: 'igppo', seed 1"),
        ({"part": "2"}, "no row of part '2'"),
        ({"part": 3}, "no row of part 3"),
        ({"seed": 99}, "no row of part 2: 'igpo', seed 99"),
        ({"learning_rate": None}, "rate None"),
        ({"arm": "grpo"}, "its outcome is one of igpo / igpo-separate, seed 1"),
        ({"core_seconds": float("nan")}, "core_seconds is nan"),
        ({"update_seconds": "5"}, "update_seconds is '5'"),
        ({"command": None}, "hash, command and source are texts"),
        ({"outcome": []}, "list indices must be integers"),
        ({"newer": 1}, "unexpected keyword argument 'newer'"),
    ],
)
def test_a_line_that_is_no_run_of_the_study_is_told(
    changed: dict[str, Any], told: str, tmp_path: Path
) -> None:
    first, second = map(asdict, arm("igpo", [0.5, 0.6]))
    path = write(tmp_path / "runs.jsonl", first, second | changed)
    with pytest.raises(DataError, match=rf"runs\.jsonl, line 2: not a run of the study \(.*{told}"):
        list(read_runs(path))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"validation_f1": float("nan")}, "validation_f1 is nan"),
        ({"validation_f1_hops_2": 2}, "validation_f1_hops_2 is 2"),
        ({"validation_f1": "0.5"}, "validation_f1 is '0.5'"),
        ({"tokens": -1}, "tokens is -1"),
        ({"validation_em": None}, "validation_em is None"),
        ({"update": 60}, "validated after other updates or numbers of hops"),
        ({"validation_f1_hops_5": 0.1}, "validated after other updates or numbers of hops"),
    ],
)
def test_a_validation_that_is_none_is_told(changed: dict[str, Any], told: str, tmp_path: Path) -> None:
    first, second = map(asdict, arm("igpo", [0.5, 0.6]))
    curve = [*second["outcome"]["curve"][:-1], second["outcome"]["curve"][-1] | changed]
    second["outcome"] |= {"curve": curve}
    with pytest.raises(DataError, match=rf"line 2: .*{told}"):
        list(read_runs(write(tmp_path / "runs.jsonl", first, second)))


@pytest.mark.parametrize("left", ["validation_f1", "tokens", "_f1_hops_"])
def test_a_curve_that_lacks_something_is_told(left: str, tmp_path: Path) -> None:
    line = asdict(run("igpo", 0, 0.5))
    whole = line["outcome"]["curve"]
    bare = [{name: x for name, x in point.items() if left not in name} for point in whole]
    for curve in ([], bare):
        line["outcome"] |= {"curve": curve}
        with pytest.raises(DataError, match="line 1: not a run of the study"):
            list(read_runs(write(tmp_path / "runs.jsonl", line)))


def test_runs_of_two_learning_rates_are_not_mixed(tmp_path: Path) -> None:
    runs = [run("igpo", 0, 0.5), run("grpo", 0, 0.5, rate=RATES[1]), run("igpo", 1, 0.5, rate=RATES[1])]
    with pytest.raises(DataError, match=r"line 3: another learning rate than the runs before: 0\.0003"):
        list(read_runs(write(tmp_path / "runs.jsonl", *map(asdict, runs))))
