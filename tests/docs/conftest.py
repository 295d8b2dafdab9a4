"""A working folder for the documents' code, and a registry that is as it was afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from igpo_gym import specs


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder. What is imported and registered there is forgotten afterwards."""
    before = {kind: set(specs.names(kind)) for kind in specs.KINDS}
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for kind, names in before.items():
        for name in set(specs.names(kind)) - names:
            specs.unregister(kind, name)
    for module in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[module]
