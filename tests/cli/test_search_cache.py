"""``--search-cache`` from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from igpo_gym.cli import app
from tests.cli.tiny import TINY_RUN, as_arguments

WORLD = "world:test#documents=60,questions=6"


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "300"})
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.parametrize("command", ["rollout", "eval"])
def test_hits_and_misses_are_told_and_a_recorded_run_is_replayed(command: str, tmp_path: Path) -> None:
    options = (
        *("--agent", "expert", "--questions", WORLD, "--limit", 4, "--scorer", "none"),
        *("--reward", "outcome-f1"),
    )
    cache = tmp_path / "cache"
    for name, setting in (("recorded", cache), ("again", cache), ("replayed", f"replay:{cache}")):
        code, text = run(command, *options, "--search-cache", setting, "--out", tmp_path / f"{name}.jsonl")
        assert code == 0, text
        hits, misses = map(int, text.rpartition("search cache: ")[2].replace("hits,", "").split()[:2])
        assert hits + misses > 0
        assert (misses == 0) == (name != "recorded")
    written = {name: (tmp_path / f"{name}.jsonl").read_text() for name in ("recorded", "again", "replayed")}
    assert written["recorded"] == written["again"] == written["replayed"]
    assert "cache" not in written["recorded"]

    # A file that was begun with one cache goes on with another, or none.
    for more in (("--search-cache", tmp_path / "other"), ()):
        code, text = run(command, *options, *more, "--out", tmp_path / "recorded.jsonl")
        assert code == 0, text
    assert (tmp_path / "recorded.jsonl").read_text() == written["again"]


def test_a_search_that_was_not_recorded_ends_the_command(tmp_path: Path) -> None:
    options = ("rollout", "--agent", "expert", "--questions", WORLD, "--scorer", "none", "--reward", "f1")
    assert run(*options, "--limit", 1, "--search-cache", tmp_path / "c", "--out", tmp_path / "a")[0] == 0
    replay = ("--search-cache", f"replay:{tmp_path / 'c'}")
    code, text = run(*options, "--limit", 4, *replay, "--out", tmp_path / "b")
    assert code == 2
    assert f"{tmp_path / 'c'} holds no answer of bm25 to the query '" in text
    code, text = run(*options, "--search-cache", "replay:nowhere", "--out", tmp_path / "b")
    assert code == 2
    assert "there is no search cache here" in text
    code, text = run(*options, "--search-cache", "none", "--limit", 1, "--out", tmp_path / "d")
    assert code == 0
    assert "search cache" not in text


@pytest.mark.slow
def test_a_training_run_tells_its_counts(tmp_path: Path) -> None:
    settings = {
        **TINY_RUN,
        "max-tokens": 16,
        "search-cache": tmp_path / "cache",
    }
    arguments = as_arguments(settings)
    code, text = run("train", tmp_path / "run", *arguments)
    assert code == 0, text
    assert "search cache: " in text
    code, text = run("train", tmp_path / "again", "--config", tmp_path / "run" / "settings.json")
    assert code == 0, text
    assert ", 0 misses" in text
