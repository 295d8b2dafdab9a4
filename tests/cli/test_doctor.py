"""What ``igpo-gym doctor`` finds is what is here."""

from __future__ import annotations

import importlib.metadata
import json
import os
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

import igpo_gym
from igpo_gym.cli import app, doctor
from igpo_gym.lm.names import PACKAGED
from tests.conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOT_FOR_USERS = {"dev", "docs"}


def test_every_extra_is_explained() -> None:
    assert set(doctor.PURPOSES) == set(PROJECT["optional-dependencies"]) - NOT_FOR_USERS


def test_it_tells_versions_devices_models_and_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"x" * 3000)
    monkeypatch.setenv("IGPO_GYM_CACHE", str(tmp_path))
    told = CliRunner().invoke(app, ["doctor", "--json"])
    found = json.loads(told.output)
    assert found["versions"]["igpo-gym"] == igpo_gym.__version__
    assert found["devices"][-1].startswith(f"cpu ({os.cpu_count()} cores")
    folder = Path(igpo_gym.__file__).parent / "models" / "nano"
    assert found["models"]["nano"] == sum(file.stat().st_size for file in folder.iterdir())
    assert found["caches"]["igpo_gym"] == {
        "folder": str(tmp_path),
        "variable": "IGPO_GYM_CACHE",
        "bytes": 3000,
    }
    for name, version in found["libraries"].items():
        assert version == importlib.metadata.version(name)
    assert told.exit_code == int(any(found["required"].values()))


METADATA = """\
Metadata-Version: 2.4
Name: igpo-gym
Version: 9.9
Requires-Dist: numpy>=1.26
Requires-Dist: typer>=999; python_version >= "3"
Requires-Dist: no-such-thing-here; sys_platform == "plan9"
Requires-Dist: no-such-library>=2; extra == "trl"
Requires-Dist: pytest>=1; extra == "verl"
Requires-Dist: igpo-gym[trl]; extra == "dev"
Requires-Dist: nemo-gym; python_version >= "99" and extra == "nemo"
Provides-Extra: trl
Provides-Extra: verl
Provides-Extra: dev
Provides-Extra: nemo
"""


def test_it_tells_what_is_missing_or_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed is read from metadata of ours, before any other on the path."""
    folder = tmp_path / "igpo_gym-9.9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(METADATA)
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor.requirements() == {
        "": [Requirement("numpy>=1.26"), Requirement('typer>=999; python_version >= "3"')],
        "trl": [Requirement('no-such-library>=2; extra == "trl"')],
        "verl": [Requirement('pytest>=1; extra == "verl"')],
        "dev": [],
        "nemo": [],
    }
    told = CliRunner().invoke(app, ["doctor", "--json"])
    found = json.loads(told.output)
    assert told.exit_code == 1
    typer_here = importlib.metadata.version("typer")
    assert found["required"] == {"numpy": "", "typer": f"typer>=999 (here: {typer_here})"}
    assert found["extras"]["trl"]["missing"] == ["no-such-library>=2"]
    assert found["extras"]["verl"]["missing"] == []
    assert found["extras"]["nemo"]["missing"] == ["not for this Python"]
    assert found["extras"]["swift"]["missing"] == ["not known"]
    shown = CliRunner().invoke(app, ["doctor"]).output
    assert "pip install 'typer>=999'" in shown
    assert "no-such-library>=2" in shown


def test_files_that_go_meanwhile_count_as_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gone", "there"):
        (tmp_path / name).write_bytes(b"x" * 3000)
    (tmp_path / "link").symlink_to(tmp_path / "there")
    lstat = Path.lstat

    def vanished(path: Path) -> os.stat_result:
        if path.name == "gone":
            raise FileNotFoundError(path)
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", vanished)
    assert doctor._bytes(tmp_path) == 3000


@pytest.mark.parametrize("problem", [ValueError("a file"), PermissionError("closed")])
def test_a_cache_that_cannot_be_read_holds_no_models(
    problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scan() -> None:
        raise problem

    monkeypatch.setattr("huggingface_hub.scan_cache_dir", scan)
    assert set(doctor.models()) == set(PACKAGED)
