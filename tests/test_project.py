"""What stands in several files of the project is the same in all of them."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

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
    assert PROJECT["dynamic"] == ["version"]
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
        [sys.executable, ".ci/run", "--help"], cwd=REPOSITORY, capture_output=True, text=True
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
