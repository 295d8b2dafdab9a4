"""What stands in several files of the project is the same in all of them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import igpo_gym
from tests.conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def workflow(name: str) -> dict[str, object]:
    text = (REPOSITORY / ".github" / "workflows" / name).read_text(encoding="utf-8")
    loaded = yaml.safe_load(text)
    assert isinstance(loaded, dict)
    return loaded


def test_the_version_is_one() -> None:
    assert "version" in PROJECT["dynamic"]
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == igpo_gym.__version__
    changes = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## (\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)$", changes, re.M)
    assert released[0] == (igpo_gym.__version__, str(citation["date-released"]))


def test_the_pythons_that_are_named_are_tested() -> None:
    named = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    matrix = workflow("tests.yml")["jobs"]["suite"]["strategy"]["matrix"]  # type: ignore[index]
    assert matrix["python"] == named
    assert PROJECT["requires-python"] == f">={named[0]}"
    systems = " ".join(each for each in PROJECT["classifiers"] if each.startswith("Operating System"))
    assert [name for name in ("Linux", "MacOS", "Windows") if name in systems] == [
        "Linux",
        "MacOS",
        "Windows",
    ]
    assert matrix["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]


def test_only_the_step_that_publishes_may_ask_for_a_token() -> None:
    release = workflow("release.yml")
    assert release["permissions"] == {"contents": "read"}
    jobs = release["jobs"]
    assert [name for name, job in jobs.items() if "permissions" in job] == ["publish"]  # type: ignore[attr-defined]


def test_the_parts_of_ci_that_workflows_and_pages_name_exist() -> None:
    parts = subprocess.run(
        [sys.executable, ".ci/run.py", "--help"], cwd=REPOSITORY, capture_output=True, text=True
    )
    known = set(re.search(r"of ([\w, ]+);", " ".join(parts.stdout.split()))[1].split(", "))  # type: ignore[index]
    files = [*REPOSITORY.glob(".github/**/*.yml"), REPOSITORY / "CONTRIBUTING.md"]
    named = {
        part
        for file in files
        for words in re.findall(r"\.ci/run((?: [a-z]+)+)", file.read_text(encoding="utf-8"))
        for part in words.split()
    }
    assert named
    assert named <= known


@pytest.mark.skipif(sys.platform == "win32", reason="no shell there")
def test_ci_starts_as_a_program_and_from_a_shell_in_any_folder(tmp_path: Path) -> None:
    program = str(REPOSITORY / ".ci" / "run")
    for command in ([program, "--help"], ["bash", program, "--help"], ["sh", program, "--help"]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert "environment" in done.stdout


POSIX = {
    *("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"),
    *("os.fork", "os.getuid", "os.killpg", "os.mkfifo", "os.setsid", "os.sched_getaffinity", "os.uname"),
    *("signal.SIGALRM", "signal.SIGHUP", "signal.SIGKILL", "signal.SIGUSR1", "signal.setitimer"),
}
"""What Windows does not have."""


def posix_names(file: Path) -> set[str]:
    """The names of ``POSIX`` that a file uses."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.add(f"{node.value.id}.{node.attr}")
    return found & POSIX


def test_what_windows_lacks_is_used_where_there_is_a_fallback() -> None:
    package = Path(igpo_gym.__file__).parent
    used = {file.relative_to(package).as_posix(): posix_names(file) for file in package.rglob("*.py")}
    assert {name: names for name, names in used.items() if names} == {
        "cli/common.py": {"resource"},
        "storage/locks.py": {"fcntl"},
    }


def test_no_file_of_the_project_has_a_name_that_windows_refuses() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True)
    names = [part for path in listed.stdout.split("\0") for part in path.split("/") if part]
    if not names:
        pytest.skip("not a checkout")
    reserved = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.I)
    assert not [name for name in names if re.search(r'[<>:"|?*\\]|[ .]$', name) or reserved.fullmatch(name)]
    folded = [path.casefold() for path in listed.stdout.split("\0")]
    assert len(folded) == len(set(folded))


def test_ci_goes_on_after_a_part_that_fails_and_says_how_long_each_took(tmp_path: Path) -> None:
    """With an environment in which one linter fails, and in which there is no mypy."""
    programs = tmp_path / ("Scripts" if sys.platform == "win32" else "bin")
    programs.mkdir()
    (tmp_path / "complete").touch()
    ruff = programs / "ruff"
    ruff.write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    ruff.chmod(0o755)
    if sys.platform == "win32":
        pytest.skip("a script is no program there")
    command = [sys.executable, str(REPOSITORY / ".ci" / "run.py"), "--keep", str(tmp_path), "types", "lint"]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": ""})
    assert done.returncode == 1
    summary = [line.split() for line in done.stdout.split("minutes\n")[1].splitlines()]
    assert [line[:2] for line in summary] == [
        ["environment", "passed"],
        ["lint", "FAILED"],
        ["types", "FAILED"],
        ["all", "0.0"],
    ]
    assert "there is no mypy in the environment" in done.stdout
