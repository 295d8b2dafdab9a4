"""Finds models to begin reinforcement learning with: ``python -m nano.starts RUN OUT``.

RUN is the folder of a training run (``python -m nano.train``). Its snapshots play validation questions at
temperature 1: three-hop ones, and the mixture of hops of the study. For each aim the one whose success
(exact match) is nearest is copied to OUT: ``start-05``, ``start-15`` and ``start-35`` by three hops, and
``nano-base`` by the mixture. ``starts.json`` says what each snapshot reached. Started again, snapshots that
were played are not played again.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from igpo_gym.benchmark.study.rows import STARTS
from igpo_gym.storage import written_file, written_whole

THREE_HOPS, MIXED = "world:validation#hops=3,seed=2", "world:validation#hops=1-4,seed=2"
"""No questions of the study, nor of its tuning."""

AIMS = {"nano-base": (MIXED, 0.27), **{name: (THREE_HOPS, aim) for name, aim in STARTS.items()}}
"""Each start's questions and success."""

Play = Callable[[Path, str], float]
"""From a snapshot's folder and questions to its success."""


def success(snapshot: Path, questions: str, limit: int = 300) -> float:
    """The share of a world's first questions that a snapshot answers right at temperature 1."""
    from igpo_gym.agents.policies import resolve_policy
    from igpo_gym.agents.rollouts.collect import collect
    from igpo_gym.agents.training.metrics import episode_metrics
    from igpo_gym.config import EnvConfig
    from igpo_gym.envs.setup import assemble
    from igpo_gym.lm.policy import Sampling

    asked, engine = assemble(EnvConfig(questions=questions, scorer=None, reward="outcome-em"))
    policy = resolve_policy(str(snapshot), asked, engine.protocol, Sampling(max_tokens=64, seed=0))
    return episode_metrics(list(collect(engine, policy, asked.questions[:limit])))["em"]


def nearest(found: Mapping[str, float], aim: float) -> str:
    """The snapshot whose success is nearest to an aim; of equals the first.

    >>> nearest({"001": 0.0, "002": 0.1, "003": 0.4}, 0.3)
    '003'
    """
    return min(found, key=lambda each: abs(found[each] - aim))


def make_starts(run: Path, out: Path, play: Play = success) -> dict[str, str]:
    """Play all snapshots of a run, and copy those that are nearest to the aims.

    Returns which snapshot each start is. Raises ValueError for a run without snapshots, and where two starts
    of the same questions would be one.
    """
    snapshots = sorted(path for path in (run / "snapshots").glob("*") if (path / "config.json").exists())
    if not snapshots:
        raise ValueError(f"{run} has no snapshots; make a run with python -m nano.train {run}")
    out.mkdir(parents=True, exist_ok=True)
    path = out / "starts.json"
    found: dict[str, dict[str, float]] = json.loads(path.read_text())["success"] if path.exists() else {}
    for questions in (THREE_HOPS, MIXED):
        reached = found.setdefault(questions, {})
        for snapshot in snapshots:
            if snapshot.name not in reached:
                reached[snapshot.name] = play(snapshot, questions)
                print(f"snapshot {snapshot.name}, {questions}: {reached[snapshot.name]:.3f}", flush=True)
                _write(path, {"success": found})
    chosen = {name: nearest(found[questions], aim) for name, (questions, aim) in AIMS.items()}
    if len({chosen[name] for name in STARTS}) < len(STARTS):
        raise ValueError(f"two starts would be one snapshot ({chosen}): make a run with more --snapshots")
    for name, snapshot_name in chosen.items():
        with written_whole(out / name) as new:
            shutil.copytree(run / "snapshots" / snapshot_name, new, dirs_exist_ok=True)
    told = {name: [each, found[AIMS[name][0]][each]] for name, each in chosen.items()}
    _write(path, {"success": found, "starts": told})
    return chosen


def _write(path: Path, told: Mapping[str, object]) -> None:
    with written_file(path) as file:
        file.write(json.dumps(told, indent=1) + "\n")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of a training run, with its snapshots")
    parser.add_argument("out", type=Path, help="where the starts are written")
    options = parser.parse_args()
    for name, snapshot in make_starts(options.run, options.out).items():
        print(f"{name}: snapshot {snapshot}")


if __name__ == "__main__":
    main()
