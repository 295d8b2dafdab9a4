from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from igpo_gym.cli import app

runner = CliRunner()


def run(*arguments: str, code: int = 0) -> str:
    result = runner.invoke(app, ("bench", "credit", *arguments))
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def test_help_teaches() -> None:
    output = run("--help")
    assert "igpo-gym bench credit --quick --out credit" in output
    assert "Usage" in " ".join(runner.invoke(app, ("bench", "--help")).output.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--reward", "ipgo"), "unknown reward 'ipgo'"),
        (("--questions", "jsonl:missing.jsonl"), "missing.jsonl"),
        (("--scorer", "none"), "needs a scorer"),
        (("--limit", "501"), "take 2 to 500 questions"),
    ],
)
def test_mistakes_are_explained(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    out = tmp_path / "out"
    assert message in run("--out", str(out), "--policy", "none", *arguments, code=2)
    assert not out.exists()


@pytest.mark.slow
def test_the_quick_size_from_end_to_end(tmp_path: Path) -> None:
    output = run("--quick", "--limit", "4", "--out", str(tmp_path))
    assert "the whole report" in output
    assert {file.name for file in tmp_path.iterdir()} - {".lock"} == {
        "report.html",
        "tables.md",
        "measures.csv",
        "turns.csv",
        "credit.json",
        "mispriced.jsonl",
        "mispriced-rewards.jsonl",
    }
    data = json.loads((tmp_path / "credit.json").read_text())
    found = {(row["measure"], row["variant"]): row["value"] for row in data["estimates"]}
    assert found["auc", "evidence-recall"] == 1.0
    assert found["auc", "potential"] == pytest.approx(found["auc", "igpo"], abs=1e-9)
    assert (
        found["value_correlation", "monte-carlo"] is None
        or -1 <= found["value_correlation", "monte-carlo"] <= 1
    )
    assert data["costs"]["igpo"]["tokens"] < data["costs"]["ig-search"]["tokens"]
    assert data["costs"]["outcome-f1"]["tokens"] == 0
