"""The README fits on a screen, and holds on PyPI, where nothing but its text is."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def on_pypi() -> str:
    """The README as the wheel's metadata have it: pyproject.toml says what is replaced."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    hook: dict[str, Any] = project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    assert [fragment["path"] for fragment in hook["fragments"]] == ["README.md"]
    text = README
    for each in hook["substitutions"]:
        text = re.sub(each["pattern"], each["replacement"], text)
    return text


def test_it_is_one_screen() -> None:
    assert len(README.splitlines()) <= 80


def test_links_on_pypi_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", on_pypi())
    assert links
    assert all(link.startswith("https://") for link in links)
    assert "![" not in on_pypi()


def test_pages_are_named_by_their_path_there() -> None:
    for path in re.findall(r"\]\((?!https?:)([^)]+\.md)\)", README):
        assert f"(`{path}`)" in on_pypi()
        assert (REPOSITORY / path).exists()
