"""What is told of a library that is missing or too old. Libraries are made here: a module, and metadata."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

METADATA = """\
Metadata-Version: 2.4
Name: igpo-gym
Version: 9.9
Requires-Dist: typer>=0.1
Requires-Dist: transformers>=0.1
Requires-Dist: peft>=0.18; extra == "lora"
Requires-Dist: gem-llm>=0.1; extra == "gem"
Requires-Dist: trafilatura>=2.1; extra == "web"
Provides-Extra: lora
Provides-Extra: gem
Provides-Extra: web
"""
OLD = "raise ImportError('cannot import name a_new_thing')"


def publish(folder: Path, name: str, version: str, module: str, code: str = "") -> None:
    """Put a distribution into a folder: its metadata, and a module of that code."""
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n")
    (folder / f"{module}.py").write_text(code)


def told(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """What Python says where a folder's libraries come before those that are installed."""
    about = folder / "igpo_gym-9.9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(METADATA)
    places = os.pathsep.join(map(str, (folder, REPOSITORY)))
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": places, "COLUMNS": "200"},
        timeout=120,
    )


USES = {
    "peft": "from igpo_gym.agents.training.model import add_adapters; add_adapters(None, 8, 0)",
    "gem-llm": "import igpo_gym.adapters.gem",
    "trafilatura": "from igpo_gym.search.web.reading import library; library()",
}


@pytest.mark.parametrize(
    ("name", "module", "needed", "code"),
    [
        *(("gem-llm", "gem", "0.1", code) for code in ("", OLD, "import no_such_part", "None.a_new_thing")),
        ("trafilatura", "trafilatura", "2.1", ""),
        ("peft", "peft", "0.18", OLD),
    ],
)
def test_a_library_that_is_too_old_is_named_with_what_is_needed(
    tmp_path: Path, name: str, module: str, needed: str, code: str
) -> None:
    publish(tmp_path, name, "0.0.9", module, code)
    done = told(tmp_path, "-c", USES[name])
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("igpo_gym.errors.OldLibraryError: ")
    assert f"needs {name}>={needed}, and 0.0.9 is installed: pip install '{name}>={needed}'" in last


def test_what_a_library_of_the_right_version_lacks_itself_is_its_own_error(tmp_path: Path) -> None:
    publish(tmp_path, "gem-llm", "0.2", "gem", "import no_such_part")
    last = told(tmp_path, "-c", USES["gem-llm"]).stderr.splitlines()[-1]
    assert last == "ModuleNotFoundError: No module named 'no_such_part'"


def test_a_library_that_is_missing_is_named_with_its_extra(tmp_path: Path) -> None:
    (tmp_path / "trafilatura.py").write_text("raise ModuleNotFoundError(name='trafilatura')")
    last = told(tmp_path, "-c", USES["trafilatura"]).stderr.splitlines()[-1]
    assert last.startswith("igpo_gym.errors.MissingExtraError: reading web pages needs an optional")


RAISES = """\
import typer.main
whole = typer.main.get_command
def get_command(app):
    if len(app.registered_commands) == 1:
        raise RuntimeError("Type not yet supported: typing.Literal")
    return whole(app)
typer.main.get_command = get_command
"""


@pytest.mark.parametrize(
    ("name", "module", "code"), [("transformers", "transformers", ""), ("typer", "sitecustomize", RAISES)]
)
def test_a_command_that_dies_of_an_old_library_says_so_in_one_line(
    tmp_path: Path, name: str, module: str, code: str
) -> None:
    publish(tmp_path, name, "0.0.5", module, code)
    arguments = ["rollout", "--agent", "nano", "--scorer", "nano", "--limit", "1", "--out", "r.jsonl"]
    done = told(tmp_path, "-c", "from igpo_gym.cli import app; app()", *arguments)
    assert done.returncode == 2
    assert f"{name}>=0.1, and 0.0.5 is installed: pip install '{name}>=0.1'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "r.jsonl").exists()
