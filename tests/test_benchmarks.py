"""``benchmarks/run.py``: what it reads from benchmarks, and how it compares."""

from __future__ import annotations

import doctest
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "benchmarks" / "run.py"


@pytest.fixture(scope="module")
def run() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def test_its_examples(run: dict[str, Any]) -> None:
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    for name in ("command", "objects", "figures", "is_ratio"):
        for example in finder.find(run[name], name, globs=dict(run)):
            runner.run(example)
    assert runner.summarize(verbose=False).failed == 0


def test_every_benchmark_there_is_is_run_or_told(run: dict[str, Any]) -> None:
    scripts = {path.stem for path in SCRIPT.parent.glob("*.py")} - {"run", "measuring"}
    named = {part for text in run["QUICK"].values() for part in text.replace("benchmarks.", "").split()}
    assert scripts - {each.removesuffix(".py") for each in named} == {
        "hacking",
        "retrieval",
        "training_parts",
        "vine",
    }


def test_a_benchmark_is_measured_or_its_mistake_told(run: dict[str, Any], tmp_path: Path) -> None:
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text('print(\'warming up\')\nprint(\'{"ratio": 2.5, "rows": [{"engine": "a", "ms": 3}]}\')')
    bad.write_text("raise SystemExit('no model')")
    found = run["measure"]([sys.executable, str(good)])
    assert found["figures"] == {"ratio": 2.5, "rows/a/ms": 3.0}
    assert run["measure"]([sys.executable, str(bad)]) == {"failed": "no model"}


def test_the_page_has_ratios_to_what_was_committed(run: dict[str, Any]) -> None:
    before = {"made": {"commit": "abc"}, "benchmarks": {"startup": {"figures": {"ratio": 2.0, "s": 4.0}}}}
    now = {
        "made": {"commit": "def"},
        "benchmarks": {
            "startup": {"figures": {"s": 3.0, "ratio": 2.5, "new": 1.0}, "seconds": 1.0},
            "nano": {"failed": "no model"},
        },
    }
    lines = run["page"](now, before).splitlines()
    assert "- now: commit def" in lines
    assert lines[lines.index("## startup") + 4 :][:3] == [
        "| **ratio** | 2.5 | 2 | 1.25 |",
        "| s | 3 | 4 | 0.75 |",
        "| new | 1 |  |  |",
    ]
    assert lines[-1] == "failed: no model"
    assert "nothing is committed yet" in run["page"](now, {})


def test_a_run_goes_on_where_it_was_stopped(
    run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "import sys; print('{\"s\": 1}'); sys.exit(%s)"
    for name, status in (("first", "open('ran', 'a').write('1') - 1"), ("second", "'no model'")):
        (tmp_path / f"{name}.py").write_text(script % status)
    for name, value in {
        "ROOT": tmp_path,
        "RESULTS": tmp_path / "results.json",
        "PAGE": tmp_path / "results.md",
        "QUICK": {"first": "first.py", "second": "second.py"},
        "command": lambda arguments: [sys.executable, arguments],
        "machine": lambda: {"commit": "abc"},
        "committed": dict,
    }.items():
        monkeypatch.setitem(run["main"].__globals__, name, value)
    monkeypatch.setattr(sys, "argv", ["run.py", "--resume"])
    assert run["main"]() == 1
    assert json.loads((tmp_path / "results.json").read_text())["benchmarks"]["second"]["failed"] == "no model"
    (tmp_path / "second.py").write_text(script % 0)
    assert run["main"]() == 0
    assert (tmp_path / "ran").read_text() == "1"  # the first was not measured twice
    assert "## second\n\n| figure" in (tmp_path / "results.md").read_text()
