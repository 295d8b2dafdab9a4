from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from typer.testing import CliRunner

from igpo_gym.benchmark.report import page_files
from igpo_gym.benchmark.study.credit import POINTS, predictions, read_credit
from igpo_gym.benchmark.study.page import (
    LEAD,
    hacking_table,
    starts_table,
    study_page,
    tuning_table,
)
from igpo_gym.benchmark.study.records import StudyRun
from igpo_gym.benchmark.study.rows import RATES
from igpo_gym.benchmark.study.verdicts import by_arm
from igpo_gym.cli import app
from igpo_gym.errors import DataError
from tests.benchmark.study.made import arm, run

ENDS = {name: 0.3 + place / 50 for place, name in enumerate([*POINTS, "igpo-3"])}


def every(names: list[str]) -> list[StudyRun]:
    return [each for name in names for each in arm(name, [ENDS[name] + n / 100 for n in range(5)], 4)]


def test_the_page_is_made_of_any_runs_there_are() -> None:
    assert "0 of 154 runs are there" in study_page([], {}).findings[0]
    runs = [*every(["igpo", "grpo", "placebo", "noise", "frozen"]), run("grpo", 100, 0.4, 1, RATES[2])]
    files = page_files(study_page(runs, {}))
    assert files["report.html"].count(LEAD) == 1
    for words in ("igpo-gym train x", "the study is not whole", "fewer than planned", "IQM of F1"):
        assert words in files["report.html"]
    told = study_page(runs, {}).findings
    assert told[1].startswith("H1 (igpo ends with a higher F1 than outcome-only GRPO): ")
    assert told[-1].startswith("The placebo's lead over GRPO is 0.06 [")
    assert "igpo's 0.02 [" in told[-1]
    assert told[-1].endswith("igpo has none that could vanish.")
    (row,) = tuning_table(runs).rows
    assert [cell.text for cell in row] == ["grpo", "0.001", "1", "0.40"]
    arms = by_arm(runs)
    for what, shares in (("guessed", ["0%", "1%", "2%"]), ("forged", ["0%", "2%", "4%"])):
        found = {row[0].text: [cell.text for cell in row[1:]] for row in hacking_table(arms, what).rows}
        assert found == dict.fromkeys(("grpo", "igpo", "frozen"), shares)


def test_leads_stand_by_their_start_and_states_of_the_code_are_told() -> None:
    runs = arm("igpo-start-15", [0.5, 0.6], 5) + arm("grpo-start-15", [0.4, 0.4], 5)
    (row,) = starts_table(by_arm(runs)).rows
    assert [cell.text for cell in row] == ["start-15", "2", "0.15"]
    assert not any("states of the code" in each for each in study_page(runs, {}).findings)
    runs[0] = replace(runs[0], outcome=replace(runs[0].outcome, stopped=60))
    told = "igpo-start-15, seed 0, could not go on after update 60: its F1 counts as 0 from there."
    assert told in study_page(runs, {}).findings
    runs[0] = replace(runs[0], source="def")
    assert study_page(runs, {}).findings[-1] == "The runs were made by 2 states of the code: abc, def."


def test_the_command_makes_the_page_from_the_runs_alone(tmp_path: Path) -> None:
    from dataclasses import asdict

    runs = arm("igpo", [0.5, 0.6]) + arm("grpo", [0.4, 0.5])
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(asdict(each)) + "\n" for each in runs))
    done = CliRunner().invoke(app, ["bench", "study", "--out", str(tmp_path), "--page"])
    assert done.exit_code == 0, done.output
    assert LEAD in (tmp_path / "report.html").read_text()
    assert "H4a" in (tmp_path / "tables.md").read_text()


def test_credit_is_held_against_training_from_eight_points_on() -> None:
    runs = every(list(ENDS))
    credit = {
        name: {"auc": value} for name, value in zip(POINTS, np.random.default_rng(0).random(9), strict=True)
    }
    (found,) = predictions(credit, runs)
    assert found.points["igpo"][1] == 0
    assert found.points["permuted-3"][1] == pytest.approx(ENDS["permuted-3"] - ENDS["igpo-3"])
    x, y = zip(*found.points.values(), strict=True)
    assert found.rho == pytest.approx(spearmanr(x, y).statistic)
    assert 0 < found.p <= 1
    (seven,) = predictions({name: credit[name] for name in list(POINTS)[:7]}, runs)
    assert len(seven.points) == 7
    assert math.isnan(seven.rho)
    assert math.isnan(seven.p)
    assert "AUC among turns" in page_files(study_page(runs, credit))["report.html"]


def test_credit_measures_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "credit.json"
    assert read_credit(path) == {}
    path.write_text('{"igpo": {"auc": 0.8}}')
    assert read_credit(path) == {"igpo": {"auc": 0.8}}
    for text in ('{"igpo": {"auk": 1}}', '{"igpp": {"auc": 1}}', "[1]", "{"):
        path.write_text(text)
        with pytest.raises(DataError, match=r"credit\.json: "):
            read_credit(path)
