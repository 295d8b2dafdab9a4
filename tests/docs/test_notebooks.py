"""The notebooks run from top to bottom, and are stored without outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "docs" / "notebooks").glob("*.ipynb"))


def code(notebook: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_there_are_two() -> None:
    assert [notebook.stem for notebook in NOTEBOOKS] == ["comparing-rewards", "quickstart"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_nothing_is_stored_but_the_source(notebook: Path) -> None:
    for cell in code(notebook):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_all_cells_run_in_order(
    notebook: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As code alone, so that no Jupyter is needed; the site runs them in a kernel."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, object] = {"__name__": notebook.stem}
    printed = []
    for cell in code(notebook):
        exec(compile("".join(cell["source"]), str(notebook), "exec"), names)
        printed.append(capsys.readouterr().out)
    assert sum(map(bool, printed)) >= 2
    if notebook.stem == "quickstart":
        assert "belief: 0.02" in printed[0]
    else:  # the forger earns nearly nothing where its thoughts are not read
        gains: Any = names["gains"]
        mean = {reward: sum(paid["forger"]) / len(paid["forger"]) for reward, paid in gains.items()}
        assert mean["igpo(context=evidence)"] < 0.05 < 0.1 < mean["igpo"]
