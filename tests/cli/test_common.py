"""How a mistake is told."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from igpo_gym.cli import app


def test_what_a_file_is_called_does_not_drive_the_terminal(tmp_path: Path) -> None:
    hostile = "\x1b]0;owned\x07corpus.jsonl"
    told = CliRunner().invoke(app, ["index", "build", hostile, str(tmp_path / "index")])
    assert told.exit_code == 2
    assert "no such file" in told.output.replace("\n", " ")
    assert "\x1b" not in told.output
    assert "\x07" not in told.output
