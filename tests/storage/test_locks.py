from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from igpo_gym.storage import held, lock


def test_a_folder_is_held_by_one_process_until_it_ends(tmp_path: Path) -> None:
    hold = (
        "import sys, pathlib, igpo_gym.storage as storage\n"
        "with storage.held(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    folder = tmp_path / "deep" / "run"
    command = [sys.executable, "-c", hold, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError, match="another process is at work in"), held(folder):
            pass
        other.kill()
    with held(folder):
        pass


def test_an_open_file_is_locked_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("ab") as first, path.open("ab") as second:
        lock(first, path)
        with pytest.raises(BlockingIOError, match=f"another run is writing to {path}"):
            lock(second, path)
        first.close()
        lock(second, path)


def test_a_folder_in_which_nothing_was_written_is_not_left(tmp_path: Path) -> None:
    with held(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    with held(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine").is_dir()
    with held(tmp_path / "run"):
        (tmp_path / "run" / "log.jsonl").write_text("{}\n")
    assert (tmp_path / "run" / "log.jsonl").exists()
