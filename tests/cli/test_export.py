"""``igpo-gym export``."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from igpo_gym.cli import app
from tests.agents.exports.played import chat, inside, priced


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["export", *arguments])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def test_what_was_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    priced(tmp_path, chat)
    told = run("priced.jsonl", "--format", "dpo", "--where", "id == 'q1'", "--out", "pairs.jsonl")
    assert told == "1 pairs, of 2 chosen episodes: pairs.jsonl"
    assert len(Path("pairs.jsonl").read_text().splitlines()) == 1


def test_mistakes_end_in_one_line_and_leave_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    priced(tmp_path, inside)
    Path("o.jsonl").write_text("before")
    options = ("--format", "sft", "--out", "o.jsonl")
    assert "give --tokenizer MODEL" in run("priced.jsonl", *options, code=2)
    assert "did you mean f1?" in run("priced.jsonl", *options, "--where", "f11 == 1", code=2)
    assert "o.jsonl is read or written as well" in run("o.jsonl", *options, code=2)
    assert "no such file" in run("missing.jsonl", "--format", "sft", "--out", "new.jsonl", code=2)
    assert Path("o.jsonl").read_text() == "before"
    assert not Path("new.jsonl").exists()
