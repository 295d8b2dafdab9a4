"""A real browser without a window, for tests and for the pictures of the documents."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


def chromium() -> str | None:
    """Where the system's Chromium is."""
    return next(
        (
            found
            for name in ("chromium", "chromium-browser", "google-chrome")
            if (found := shutil.which(name))
        ),
        None,
    )


IN_A_BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(find_spec("playwright") is None, reason="needs playwright"),
    pytest.mark.skipif(chromium() is None, reason="needs a Chromium"),
]
"""The marks of tests that need one."""


@contextmanager
def browser() -> Iterator[Any]:
    """A Chromium with a profile of its own, which is gone afterwards."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        try:
            yield opened
        finally:
            opened.close()


def url(page: Path, address: str = "") -> str:
    """A page on the disk, at an address within it."""
    return f"{page.resolve().as_uri()}{address}"
