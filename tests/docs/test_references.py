"""What pages and docstrings refer to exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.docs.pages import PAGES

SECTIONS = re.findall(r"^## (\d+)\. ", (REPOSITORY / "docs" / "METHOD.md").read_text(encoding="utf-8"), re.M)


def test_cited_sections_of_the_method_exist() -> None:
    cited = 0
    for path in (*(REPOSITORY / "igpo_gym").rglob("*.py"), *(REPOSITORY / "nano").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert text.count("METHOD") == text.count("docs/METHOD.md, section "), path
        for number in re.findall(r"docs/METHOD\.md, section (\d+)", text):
            assert number in SECTIONS, path
            cited += 1
    assert cited


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> Iterator[tuple[Path, str]]:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield (page.parent / path if path else page), anchor


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(REPOSITORY)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in links(page):
        assert path.exists(), path
        assert not anchor or anchor in anchors(path), (path, anchor)


def test_files_that_pages_name_exist() -> None:
    """Paths of modules in code quotes, from the package's folder or from the repository's."""
    for page in PAGES:
        for name in re.findall(r"`((?:[a-z0-9_]+/)+[a-z0-9_]+\.py)`", page.read_text(encoding="utf-8")):
            places = (REPOSITORY / name, REPOSITORY / "igpo_gym" / name)
            assert name.startswith("mine/") or any(place.exists() for place in places), (page, name)
