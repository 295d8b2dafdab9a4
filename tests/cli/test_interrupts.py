"""Ctrl-C, in processes of their own: the exit code 130, one line, and nothing that is half written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pytest
import typer
from typer.testing import CliRunner

from igpo_gym.agents.rollouts.records import read_rollouts
from igpo_gym.cli import COMMANDS, GROUPS, app

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process on Windows")

# A job that a shell runs in the background begins without Python's handler.
RUN = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from igpo_gym.cli import app; app()"
)
GOES_ON = "interrupted; the same command goes on\n"
NOTHING = "interrupted; nothing was written\n"
LOG = (
    '{"messages": [{"role": "user", "content": "Where is Danzig?"}, '
    '{"role": "assistant", "content": "<answer>Poland</answer>"}], "answers": ["Poland"]}\n'
)


def interrupted(
    arguments: list[str | Path],
    folder: Path,
    when: Callable[[], bool] = lambda: True,
    feed: Callable[[IO[bytes]], Any] = lambda pipe: None,
) -> str:
    """Send SIGINT to a command, and to what it has begun, when it has taken what it is fed and ``when`` is
    true; returns what it says on standard error."""
    with subprocess.Popen(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # as a terminal sends it to all processes of the command
    ) as process:
        assert process.stdin is not None
        try:
            feed(process.stdin)
            while not when():
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.02)
                    raise AssertionError(f"ended before: {process.communicate()[1].decode()}")
            os.killpg(process.pid, signal.SIGINT)
            told = process.communicate(timeout=120)[1].decode()
        finally:
            process.kill()
    assert process.returncode == 130, told
    return told


def filled(path: Path, more_than: int = 0) -> Callable[[], bool]:
    return lambda: path.exists() and path.stat().st_size > more_than


ROLLOUT = ["rollout", "--agent", "expert", "--questions", "world:test#questions=3000", "--limit", "3000"]
ROLLOUT += ["--scorer", "none", "--reward", "outcome-f1", "--out", "out.jsonl"]


def test_a_rollout_keeps_its_whole_episodes(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert interrupted(ROLLOUT, tmp_path, filled(out)) == GOES_ON
    kept = out.read_bytes()
    assert kept.endswith(b"\n")
    first = sum(1 for _ in read_rollouts(out))
    assert 0 < first < 3000
    assert interrupted(ROLLOUT, tmp_path, filled(out, len(kept))) == GOES_ON
    assert out.read_bytes().startswith(kept)
    assert len({episode.question.id for episode in read_rollouts(out)}) == sum(1 for _ in read_rollouts(out))


def test_relabel_goes_on_with_its_part(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(LOG, encoding="utf-8")
    played = tmp_path / "played.jsonl"
    made = CliRunner().invoke(app, ["import", str(tmp_path / "log.jsonl"), "--out", str(played)])
    assert made.exit_code == 0, made.output
    played.write_bytes(played.read_bytes() * 20_000)
    out = tmp_path / "priced.jsonl"
    arguments = ["relabel", "played.jsonl", "--reward", "outcome-f1", "--out", out]
    part = tmp_path / "priced.jsonl.part"
    assert interrupted(arguments, tmp_path, filled(part)) == GOES_ON
    assert not out.exists()
    assert part.read_bytes().endswith(b"\n")


def test_an_index_is_whole_or_not_there(tmp_path: Path) -> None:
    def corpus(pipe: IO[bytes]) -> None:
        line = json.dumps({"id": "1", "contents": '"Danzig"\nDanzig lies in Poland.'}).encode() + b"\n"
        pipe.write(line * 20_000)  # more than a pipe holds, so that it is read when this returns
        pipe.flush()

    assert interrupted(["index", "build", "-", "index"], tmp_path, feed=corpus) == NOTHING
    assert list(tmp_path.iterdir()) == []


def test_an_import_is_whole_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "logs.jsonl").write_text(LOG * 20_000, encoding="utf-8")

    def begun() -> bool:
        return any(filled(path)() for path in tmp_path.glob(".out.jsonl-*/new"))

    assert interrupted(["import", "logs.jsonl", "--out", "out.jsonl"], tmp_path, begun) == NOTHING
    assert [path.name for path in tmp_path.iterdir()] == ["logs.jsonl"]


@pytest.mark.slow
def test_a_training_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "run" / "log.jsonl"
    arguments = ["train", "run", "--updates", "50", "--group-size", "2", "--batch-questions", "1"]
    arguments += ["--validation-questions", "1", "--device", "cpu"]
    assert interrupted(arguments, tmp_path, filled(log)) == GOES_ON
    assert all(json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())


@pytest.mark.slow
def test_runs_side_by_side_end_with_the_command(tmp_path: Path) -> None:
    """The processes that make them say nothing, each with a traceback, and none stays."""
    arguments = ["bench", "train", "--seeds", "2", "--updates", "50", "--jobs", "2", "--out", "out"]
    arguments += ["--variant", "outcome-f1/grpo", "--validation-questions", "1"]

    def begun() -> bool:
        return sum(filled(log)() for log in tmp_path.rglob("log.jsonl")) == 2

    assert interrupted(arguments, tmp_path, begun) == GOES_ON


def test_what_goes_on_is_what_takes_a_budget() -> None:
    commands: dict[str, Any] = {**COMMANDS}
    for name, (_, own) in GROUPS.items():
        commands |= {f"{name} {each}": command for each, command in own.items()}
    assert {name for name, each in commands.items() if each.resumed} == {
        name for name in commands if "budget" in options(name)
    }


KINDS: Mapping[str, set[str]] = {
    "--best": {"export", "show"},  # "2 by return" of each question, and the order of a list: both the best
}
"""Options that a command takes as a switch and another with a value, and why."""


def test_an_option_is_a_switch_everywhere_or_nowhere() -> None:
    names = [*COMMANDS, *(f"{group} {name}" for group, (_, own) in GROUPS.items() for name in own)]
    found: dict[str, dict[bool, set[str]]] = {}
    for name in names:
        for each in options(name).values():
            if each.param_type_name == "option":
                for text in each.opts:
                    found.setdefault(text, {}).setdefault(bool(each.is_flag), set()).add(name)
    assert {text: set.union(*own.values()) for text, own in found.items() if len(own) > 1} == KINDS


def options(name: str) -> dict[str, Any]:
    found: Any = typer.main.get_command(app)
    for part in name.split():
        _, found, _ = found.resolve_command(typer.Context(found), [part])
    return {each.name: each for each in found.params}
