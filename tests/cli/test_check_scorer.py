"""``igpo-gym check scorer``: what it prints and writes, and mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from igpo_gym.cli import app


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["check", "scorer", *arguments], env={"COLUMNS": "160"})
    assert result.exit_code == code, result.output
    return result.output


def test_a_few_questions_have_figures_and_no_verdict(tmp_path: Path) -> None:
    output = run("nano#device=cpu", "--questions", "world:test", "--limit", "6", "--out", str(tmp_path / "f"))
    assert "no verdict: 6 questions are too few, give 50 or more" in output
    report = json.loads((tmp_path / "f").read_text())
    assert report["verdict"] == "no verdict"
    assert len(report["beliefs"]) == 6
    assert report["cost_a_turn"]["tokens"] > 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nanoo", "--questions", "world:test"), "did you mean nano"),
        (("none", "--questions", "world:test"), "no scorer to check"),
        (("nano", "--questions", "none.jsonl"), "none.jsonl"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments: tuple[str, ...], told: str) -> None:
    output = run(*arguments, code=2)
    assert told in output
    assert output.startswith("error")
    assert output.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device")
def test_a_verdict_is_told_before_a_full_disk_is() -> None:
    output = run(
        *["nano#device=cpu", "--questions", "world:test", "--limit", "2", "--out", "/dev/full"], code=2
    )
    assert "no verdict: 2 questions are too few" in output
    assert output.endswith("error /dev/full: no space left on device\n")
