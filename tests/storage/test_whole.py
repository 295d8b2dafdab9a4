from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from igpo_gym.storage import tidy, written_file, written_whole


def test_a_folder_appears_whole_and_replaces_an_old_one(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    for content in ("one", "two"):
        with written_whole(target) as folder:
            (folder / "file").write_text(content)
            assert not (target / "file").exists() or (target / "file").read_text() != content
        assert (target / "file").read_text() == content
    assert list(target.parent.iterdir()) == [target]


def test_what_a_link_leads_to_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    disk, link = tmp_path / "disk", tmp_path / "link"
    disk.mkdir()
    link.symlink_to(disk)
    for content in ("one", "two"):
        with written_whole(link) as folder:
            (folder / "file").write_text(content)
        assert link.is_symlink()
        assert (disk / "file").read_text() == content
    (tmp_path / "new").symlink_to(tmp_path / "elsewhere")
    with written_whole(tmp_path / "new") as folder:
        (folder / "file").touch()
    assert (tmp_path / "elsewhere" / "file").exists()


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with written_whole(target) as folder:
        (folder / "file").write_text("old")

    def fail() -> None:
        with written_whole(target) as folder:
            (folder / "file").write_text("half")
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        fail()
    assert (target / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_slower_of_two_writers_succeeds_too(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with written_whole(target) as slow:
        (slow / "file").write_text("slow")
        with written_whole(target) as fast:
            (fast / "file").write_text("fast")
        assert (target / "file").read_text() == "fast"
    assert (target / "file").read_text() == "slow"
    assert list(tmp_path.iterdir()) == [target]


def test_files_that_race_are_whole(tmp_path: Path) -> None:
    target = tmp_path / "file"

    def write(number: int) -> None:
        for _ in range(50):
            with written_file(target) as file:
                file.write(str(number) * 1000)
            assert target.read_text() in {str(each) * 1000 for each in range(4)}

    target.write_text("0" * 1000)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert list(tmp_path.iterdir()) == [target]


def test_what_lies_beside_a_file_stays_as_it_is(tmp_path: Path) -> None:
    beside = [tmp_path / f"{name}.{end}" for name in ("out", ".out") for end in ("new", "part", "old", "tmp")]
    for path in beside:
        path.write_text("a user's\n")
    for _ in range(2):
        with written_file(tmp_path / "out") as file:
            file.write("written\n")
    assert {path: path.read_text() for path in tmp_path.iterdir()} == {
        **dict.fromkeys(beside, "a user's\n"),
        tmp_path / "out": "written\n",
    }


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    kept, target = tmp_path / "kept", tmp_path / "target"
    for path in (kept, target):
        path.touch()
    target.chmod(0o600)
    with written_file(target) as file:
        file.write("secret\n")
    assert target.stat().st_mode & 0o777 == 0o600
    with written_file(tmp_path / "other") as file:
        file.write("for all\n")
    assert (tmp_path / "other").stat().st_mode == kept.stat().st_mode


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_folder_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    kept, target = tmp_path / "kept", tmp_path / "target"
    kept.mkdir()
    target.mkdir(0o700)
    for place, mode in ((target, 0o700), (tmp_path / "new", kept.stat().st_mode & 0o777)):
        with written_whole(place) as folder:
            (folder / "file").touch()
        assert place.stat().st_mode & 0o777 == mode


def test_what_a_killed_writer_of_a_file_left_is_removed(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from igpo_gym.storage import written_file\n"
        "with written_file(Path(sys.argv[1])) as file:\n"
        "    file.write('half')\n"
        "    file.flush()\n"
        "    os._exit(1)\n"
    )
    target = tmp_path / "file"
    subprocess.run([sys.executable, "-c", script, target], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    with written_file(target) as file:
        file.write("whole")
    assert list(tmp_path.iterdir()) == [target]


def test_writers_that_race_all_succeed(tmp_path: Path) -> None:
    target = tmp_path / "target"

    def write(number: int) -> None:
        for _ in range(50):
            with written_whole(target) as folder:
                (folder / "file").write_text(str(number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert (target / "file").read_text() in "0123"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from igpo_gym.storage import whole\n"
        "def die(*_): os.kill(os.getpid(), signal.SIGKILL)\n"
        "target, moment = Path(sys.argv[1]), sys.argv[2]\n"
        "with whole.written_whole(target) as folder:\n"
        "    (folder / 'file').write_text('new')\n"
        "    if moment == 'writing':\n"
        "        die()\n"
        "    rename = Path.rename\n"
        "    whole._exchange = lambda *_: False  # as where folders cannot be exchanged\n"
        "    def renamed(path, to):\n"
        "        if path != target and not target.exists():\n"
        "            die()\n"
        "        return rename(path, to)\n"
        "    Path.rename = renamed\n"
    )
    target = tmp_path / "best"
    with written_whole(target) as folder:
        (folder / "file").write_text("old")
    for moment in ("writing", "moving"):
        subprocess.run([sys.executable, "-c", script, str(target), moment], check=False)
        assert len(list(tmp_path.glob(".best-*"))) == 1
        tidy(target)
        assert list(tmp_path.iterdir()) == [target]
        assert (target / "file").read_text() == "old"


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from igpo_gym import storage\n"
        "with storage.written_whole(Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for name in ("best", "best-2"):
        subprocess.run([sys.executable, "-c", script, str(tmp_path / name)], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    with written_whole(tmp_path / "best"):
        (other,) = tmp_path.glob(".best-2-*")
        assert len(list(tmp_path.iterdir())) == 2
    assert sorted(tmp_path.iterdir()) == sorted([other, tmp_path / "best"])
    with written_whole(tmp_path / "best-2"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "best-2"]


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be locked")
def test_a_writer_that_lives_is_let_be(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with written_whole(target) as slow:
        (slow / "file").write_text("slow")
        tidy(target)
        with written_whole(target):
            assert (slow / "file").exists()
    assert (target / "file").read_text() == "slow"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="folders cannot be exchanged")
def test_there_is_always_a_folder_while_another_takes_its_place(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with written_whole(target) as folder:
        (folder / "file").touch()
    with ThreadPoolExecutor(2) as pool:

        def write() -> None:
            for _ in range(200):
                with written_whole(target) as folder:
                    (folder / "file").touch()

        writers = [pool.submit(write) for _ in range(2)]
        while not all(writer.done() for writer in writers):
            assert (target / "file").exists()
    for writer in writers:
        writer.result()


def test_a_disk_that_is_full_is_named_with_what_is_written(tmp_path: Path) -> None:
    for written in (written_whole, written_file):
        with pytest.raises(OSError, match="target") as caught, written(tmp_path / "target"):
            raise OSError(errno.ENOSPC, "No space left on device")
        assert caught.value.filename == str(tmp_path / "target")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_a_disk_that_is_full_while_a_model_is_saved_is_named(tmp_path: Path) -> None:
    """safetensors raises an error of its own; a limit on a file's size stands for the disk."""
    script = (
        "import resource, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from safetensors.torch import save_file\n"
        "from igpo_gym.storage import written_whole\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "try:\n"
        "    with written_whole(Path(sys.argv[1])) as folder:\n"
        "        save_file({'w': torch.zeros(50_000)}, folder / 'model.safetensors')\n"
        "except OSError as problem:\n"
        "    print(problem.filename, problem.strerror)\n"
    )
    target = tmp_path / "model"
    run = subprocess.run([sys.executable, "-c", script, target], capture_output=True, text=True, check=True)
    assert run.stdout == f"{target} File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file"
    with written_file(target) as file:
        file.write("old\n")
        assert not target.exists()

    def fail() -> None:
        with written_file(target) as file:
            file.write("half")
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        fail()
    assert target.read_text() == "old\n"
    assert list(target.parent.iterdir()) == [target]


def test_a_file_that_is_not_written_leaves_no_folder_and_lets_resumable_parts_be(tmp_path: Path) -> None:
    part = tmp_path / "out.jsonl.part"
    part.write_text("half a run\n")
    with written_file(tmp_path / "out.jsonl") as file:
        file.write("another command's\n")
    assert part.read_text() == "half a run\n"
    folder = tmp_path / "world"
    with (
        pytest.raises(OSError, match="world"),
        written_file(folder / "corpus.jsonl"),
        written_file(folder / "questions.jsonl"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not folder.exists()


@pytest.mark.skipif(os.name == "nt", reason="links and devices of POSIX")
def test_links_and_devices_are_written_through(tmp_path: Path) -> None:
    target, link, dangling = tmp_path / "file", tmp_path / "link", tmp_path / "dangling"
    target.write_text("old\n")
    link.symlink_to(target)
    dangling.symlink_to(tmp_path / "missing")
    for path in (link, dangling):
        with written_file(path) as file:
            file.write("new\n")
        assert path.is_symlink()
        assert path.read_text() == "new\n"
    device = tmp_path / "null"
    device.symlink_to(os.devnull)
    with written_file(device) as file:
        file.write("lost\n")
    assert device.is_char_device()
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link", "dangling", "missing", "null"}
    with pytest.raises(IsADirectoryError, match="is a folder"), written_file(tmp_path):
        pass
