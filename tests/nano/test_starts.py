from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import igpo_gym.models
from nano.starts import AIMS, MIXED, THREE_HOPS, make_starts, success


def snapshots(run: Path, names: list[str]) -> None:
    for name in names:
        (run / "snapshots" / name).mkdir(parents=True)
        (run / "snapshots" / name / "config.json").write_text(f'"{name}"')


def test_starts_are_the_snapshots_nearest_to_the_aims(tmp_path: Path) -> None:
    reached = {"001": 0.0, "002": 0.06, "003": 0.11, "004": 0.2, "005": 0.33, "006": 0.5}
    snapshots(tmp_path / "run", list(reached))
    played: list[str] = []

    def play(snapshot: Path, questions: str) -> float:
        played.append(snapshot.name)
        return reached[snapshot.name] + 0.1 * (questions == MIXED)

    chosen = make_starts(tmp_path / "run", tmp_path / "out", play)
    assert chosen == {"nano-base": "004", "start-05": "002", "start-15": "003", "start-35": "005"}
    assert (tmp_path / "out" / "start-15" / "config.json").read_text() == '"003"'
    told = json.loads((tmp_path / "out" / "starts.json").read_text())
    assert told["success"] == {THREE_HOPS: reached, MIXED: {name: em + 0.1 for name, em in reached.items()}}
    assert told["starts"] == {n: [each, told["success"][AIMS[n][0]][each]] for n, each in chosen.items()}
    played.clear()
    assert make_starts(tmp_path / "run", tmp_path / "out", play) == chosen
    assert not played, "what was played is not played again"


def test_a_run_that_has_no_such_starts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no snapshots"):
        make_starts(tmp_path / "run", tmp_path / "out")
    snapshots(tmp_path / "run", ["001", "002"])
    with pytest.raises(ValueError, match="two starts would be one snapshot"):
        make_starts(tmp_path / "run", tmp_path / "out", lambda snapshot, questions: 0.1)


def test_a_snapshot_plays(tmp_path: Path) -> None:
    shutil.copytree(Path(igpo_gym.models.__path__[0]) / "nano", tmp_path / "nano")
    assert success(tmp_path / "nano", THREE_HOPS, limit=8) in [n / 8 for n in range(1, 9)]
