from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from igpo_gym.storage import cache_dir, check_writable, written_file, written_whole


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IGPO_GYM_CACHE", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"
    monkeypatch.delenv("IGPO_GYM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "igpo_gym"


def test_a_link_that_leads_back_to_itself_is_told_by_the_system(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.symlink_to(other)
    other.symlink_to(one)
    for write in (written_file, written_whole):
        with pytest.raises(OSError, match="one") as refused, write(one):  # type: ignore[operator]
            pass
        assert (refused.value.errno, refused.value.filename) == (errno.ELOOP, str(one))
    for target, others in ((one, ()), (tmp_path / "new", (one,))):
        for folder in (False, True):
            with pytest.raises(OSError, match="one") as refused:
                check_writable(target, *others, folder=folder)
            assert refused.value.errno == errno.ELOOP
    assert one.is_symlink()


def test_what_could_not_be_written_is_found_before_the_work(tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("old")
    folder.mkdir()
    for target, as_folder in ((file, True), (file / "report", False), (file / "run", True), (folder, False)):
        kinds = (NotADirectoryError, IsADirectoryError, FileExistsError)
        with pytest.raises(kinds) as refused:
            check_writable(target, folder=as_folder)
        assert refused.value.filename == str(target)
        with pytest.raises(kinds):
            target.mkdir() if as_folder else target.write_text("new")
    check_writable(folder / "new" / "report.html")
    check_writable(folder / "new", folder=True)
    check_writable(folder, folder=True)
    check_writable(file)
    check_writable(Path("/dev/null"))  # also where nothing can be written beside it
    assert file.read_text() == "old"
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="needs devices")
@pytest.mark.parametrize("piped", [True, False])
def test_what_is_printed_to_is_no_file_of_lines(tmp_path: Path, piped: bool) -> None:
    program = (
        "from pathlib import Path\n"
        "from igpo_gym.storage import check_writable\n"
        "check_writable(Path('/dev/stdout'))"
    )
    with (tmp_path / "file").open("w") as file:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE if piped else file,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert "ValueError: /dev/stdout is what this command prints to: name a file" in done.stderr
    check_writable(tmp_path / "file")
