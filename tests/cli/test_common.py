"""How a mistake is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from igpo_gym.cli import app


def test_what_a_file_is_called_does_not_drive_the_terminal(tmp_path: Path) -> None:
    hostile = "\x1b]0;owned\x07corpus.jsonl"
    told = CliRunner().invoke(app, ["index", "build", hostile, str(tmp_path / "index")])
    assert told.exit_code == 2
    assert "no such file" in told.output.replace("\n", " ")
    assert "\x1b" not in told.output
    assert "\x07" not in told.output


@pytest.mark.parametrize(
    "command",
    [
        ("show", "deep.jsonl"),
        ("relabel", "deep.jsonl", "--reward", "f1", "--out", "out"),
        ("view", "deep.jsonl", "--out", "out"),
        ("compare", "deep.jsonl", "other.jsonl"),
        ("import", "deep.jsonl", "--out", "out"),
        ("data", "show", "deep.jsonl"),
        ("index", "build", "deep.jsonl", "out"),
        ("index", "show", "folder"),
        ("eval", "--like", "deep.json", "--out", "out"),
        ("eval", "--config", "deep.json", "--out", "out"),
        ("train", "folder", "--updates", "1"),
    ],
    ids=" ".join,
)
def test_a_file_that_is_nested_too_deeply_is_told_in_one_line(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("deep.jsonl", "deep.json", "other.jsonl", "folder/settings.json", "folder/manifest.json"):
        (tmp_path / name).write_text("[" * 100_000 + "\n")
    told = CliRunner().invoke(app, list(command))
    assert told.exit_code == 2, told.output
    assert "error " in told.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("import", "loop", "--out", "out"),
        ("import", "data.jsonl", "--out", "loop"),
        ("relabel", "data.jsonl", "--reward", "f1", "--out", "loop"),
        ("export", "data.jsonl", "--format", "sft", "--out", "loop"),
        ("export", "data.jsonl", "--format", "hf", "--out", "loop"),
        ("view", "data.jsonl", "--out", "loop"),
        ("rollout", "--agent", "expert", "--out", "loop"),
        ("data", "prepare", "data.jsonl", "--out", "loop"),
        ("index", "build", "loop", "out"),
        ("index", "build", "data.jsonl", "loop"),
        ("train", "loop", "--updates", "1"),
    ],
    ids=" ".join,
)
def test_a_link_that_leads_back_to_itself_is_told_in_one_line(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.jsonl").write_text('{"format": 2, "settings": {}}\n')
    (tmp_path / "loop").symlink_to("loop")
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 2, told.output
    assert told.output == "error loop: too many levels of symbolic links\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("command", [("compare", "one.jsonl", "two.jsonl"), ("data", "list"), ("--version",)])
def test_a_full_disk_behind_what_is_printed_is_told_in_one_line(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    play = ("--agent", "expert", "--limit", "1", "--scorer", "none", "--reward", "f1")
    for name in ("one", "two") if command[0] == "compare" else ():
        assert CliRunner().invoke(app, ["rollout", *play, "--out", f"{name}.jsonl"]).exit_code == 0
    program = [sys.executable, "-c", "from igpo_gym.cli import app; app()", *command]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error no space left on device\n")


@pytest.mark.parametrize(
    "command",
    [
        ("rollout", "--agent", "expert", "--out", "out.jsonl.gz"),
        ("import", "data.jsonl", "--out", "out.jsonl.gz"),
        ("relabel", "data.jsonl", "--reward", "f1", "--out", "out.jsonl.zst"),
    ],
    ids=" ".join,
)
def test_nothing_is_written_by_a_name_that_says_it_is_packed(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.jsonl").write_text('{"format": 2, "settings": {}}\n')
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 2
    assert "what is written is not packed" in " ".join(told.output.split())
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


@pytest.mark.parametrize(
    "command",
    [
        ("eval", "--questions", "jsonl:data.json", "--out", "e.jsonl", "--table", "data.json"),
        ("eval", "--agent", "scripted", "--out", "e.json", "--table", "e.json"),
        ("eval", "--agent", "scripted", "--out", "e.jsonl", "--table", "t.md", "--table", "./t.md"),
        ("eval", "--agent", "scripted", "--out", "e.jsonl", "--table", "e.card.json"),
        ("compare", "data.json", "other.json", "--table", "linked.json"),
        ("compare", "data.json", "other.json", "--table", "t.json", "--table", "t.json"),
        ("import", "data.json", "--out", "linked.json"),
        ("import", "data.json", "--questions", "jsonl:other.json", "--out", "other.json"),
        ("export", "data.json", "--format", "sft", "--out", "folder/../data.json"),
        ("relabel", "data.json", "--reward", "f1", "--out", "linked.json"),
        ("relabel", "data.json", "--reward", "f1", "--questions", "jsonl:other.json", "--out", "other.json"),
        ("view", "other.json", "data.json", "--out", "data.json"),
        ("play", "--questions", "jsonl:other.json", "--out", "other.json"),
        ("check", "scorer", "nano", "--questions", "jsonl:data.json", "--out", "data.json"),
        ("check", "scorer", "nano", "--questions", "world:test + data.json", "--out", "data.json"),
        ("check", "scorer", "./model", "--questions", "world:test", "--out", "model/config.json"),
        ("eval", "--agent", "./model", "--out", "e.jsonl", "--table", "model/config.json"),
        ("eval", "--agent", "oracle:./model", "--out", "e.jsonl", "--table", "model/config.json"),
        ("eval", "--like", "e.card.json", "--out", "e.jsonl"),
        ("eval", "--like", "e.card.json", "--out", "o.jsonl", "--table", "e.card.json"),
        ("eval", "--config", "set.json", "--out", "e.jsonl", "--table", "set.json"),
        ("rollout", "--agent", "expert", "--config", "set.json", "--out", "set.json"),
        ("relabel", "data.json", "--reward", "f1", "--scorer", "./model", "--out", "model/config.json"),
        ("relabel", "data.json", "--reward", "f1", "--policy", "./model", "--out", "model/config.json"),
        ("view", "data.json", "--tokenizer", "./model", "--out", "model/config.json"),
        ("export", "data.json", "--format", "sft", "--tokenizer", "./model", "--out", "model/config.json"),
        ("play", "--agent", "./model", "--out", "model/config.json"),
        ("index", "build", "data.json", "model", "--dense", "./model"),
        ("index", "build", "folder/corpus.jsonl", "folder"),
        ("index", "build", "folder/corpus.jsonl", "."),
    ],
    ids=" ".join,
)  # fmt: skip
def test_no_command_writes_over_what_it_reads_or_writes(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("folder", "model"):
        (tmp_path / name).mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "set.json").write_text('{"max_turns": 3}')
    (tmp_path / "e.card.json").write_text(
        '{"card": 1, "settings": {"agent": "expert"}, "decided_by": {}, "scores": {}}'
    )
    for name in ("data.json", "other.json", "folder/corpus.jsonl"):
        (tmp_path / name).write_text(
            '{"format": 2, "settings": {}, "question": "Who?", "answers": ["A"], "text": "A"}\n'
        )
    (tmp_path / "linked.json").symlink_to("data.json")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 2
    assert "is read or written as well" in " ".join(told.output.split())
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
