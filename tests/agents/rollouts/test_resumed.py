from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

import pytest

from igpo_gym.agents.rollouts.resumed import ResumedFile, whole_lines
from igpo_gym.errors import DataError
from igpo_gym.storage import locks

SETTINGS = {"reward": "f1"}


class KilledError(Exception):
    pass


def stop(path: Path, count: int) -> None:
    """A run that is stopped after so many lines."""
    with ResumedFile(path, SETTINGS) as file:
        for number in range(count):
            file.write({"n": number})
        raise KilledError


def lines(path: Path) -> list[Any]:
    return [json.loads(line)["n"] for line in path.read_text().splitlines()]


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_what_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    path.chmod(0o600)
    with pytest.raises(KilledError):
        stop(path, 1)
    assert (tmp_path / "out.jsonl.part").stat().st_mode & 0o777 == 0o600
    with ResumedFile(path, SETTINGS) as file:
        file.write({"n": 1})
    assert lines(path) == [0, 1]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_that_leads_back_to_itself_is_told_by_the_system(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.symlink_to(path)
    for write in (ResumedFile, whole_lines):
        with pytest.raises(OSError, match="out"):
            write(path, SETTINGS)


def test_what_a_run_left_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    with pytest.raises(KilledError):
        stop(path, 2)
    part = tmp_path / "out.jsonl.part"
    assert path.read_text() == "old"
    with part.open("a") as cut:
        cut.write('{"relabeled": {"rew')
    seen: list[int] = []
    with ResumedFile(path, SETTINGS, lambda line: seen.append(line["n"])) as file:
        assert (file.done, seen) == (2, [0, 1])
        file.write({"n": 2})
    assert lines(path) == [0, 1, 2]
    assert not part.exists()


def test_lines_that_are_made_together_are_gone_on_with_together(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with pytest.raises(KilledError):
        stop(path, 5)
    assert [whole_lines(path, SETTINGS, together) for together in (1, 2, 8)] == [5, 4, 0]
    with pytest.raises(DataError, match="left by a run with other settings"):
        whole_lines(path, {**SETTINGS, "reward": "another"})
    seen: list[int] = []
    with ResumedFile(path, SETTINGS, lambda line: seen.append(line["n"]), together=2) as file:
        assert (file.done, seen) == (4, [0, 1, 2, 3])
        file.write({"n": "anew"})
    assert lines(path) == [0, 1, 2, 3, "anew"]


def test_what_a_run_with_other_settings_left_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with pytest.raises(KilledError):
        stop(path, 1)
    with pytest.raises(DataError, match=r"other settings \(reward\); remove it, or choose another file"):
        ResumedFile(path, {"reward": "em"})
    assert lines(tmp_path / "out.jsonl.part") == [0]
    (tmp_path / "out.jsonl.part").write_text('{"n": 0}\n')
    with pytest.raises(DataError, match=r"not what a run left here .*; remove the file"):
        ResumedFile(path, SETTINGS)


def test_a_run_that_wrote_nothing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        stop(tmp_path / "out.jsonl", 0)
    assert list(tmp_path.iterdir()) == []


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    with ResumedFile(tmp_path / "out.jsonl", SETTINGS), pytest.raises(BlockingIOError, match="another run"):
        ResumedFile(tmp_path / "out.jsonl", SETTINGS)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device")
def test_a_full_disk_is_named_with_the_file() -> None:
    with pytest.raises(OSError, match="No space left") as told, ResumedFile(Path("/dev/full"), {}) as file:
        file.write({"n": 0})
    assert told.value.filename == "/dev/full"


def test_a_file_that_was_renamed_while_it_was_opened_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever had the file finishes it between another one's opening and locking it."""
    path = tmp_path / "out.jsonl"
    first = ResumedFile(path, {"reward": "f1"})
    first.write({"return": 1.0})
    lock = locks.lock

    def late(file: IO[Any], target: Path) -> None:
        monkeypatch.setattr(locks, "lock", lock)
        first.__exit__(None, None, None)
        lock(file, target)

    monkeypatch.setattr(locks, "lock", late)
    with ResumedFile(path, {"reward": "f1"}) as second:
        assert second.done == 0
        second.write({"return": 2.0})
    assert json.loads(path.read_text())["return"] == 2.0
