"""Relabel a file of records on many machines with Ray Data: N times the workers, the same numbers.

    pip install 'ray[data]'
    python examples/ray_relabel.py records.jsonl priced.jsonl --reward igpo --scorer nano --workers 2

Each worker holds one scorer and prices batches of whole trajectories; the output has the order of the input.
On a cluster, start this script on its head (``ray job submit``), with the file on a disk that all nodes see.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import ray

from igpo_gym import relabel
from igpo_gym.agents.rollouts.records import from_record
from igpo_gym.scorers import resolve_scorer
from igpo_gym.storage import written_file


class Pricing:
    """A worker: it loads the model once, and prices a batch of records at a time."""

    def __init__(self, rewards: list[str], scorer: str) -> None:
        self.rewards, self.scorer = rewards, resolve_scorer(scorer)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A line of prices for each line of records."""
        episodes = [from_record(json.loads(line)) for line in batch["text"]]
        priced = relabel(episodes, self.rewards, self.scorer, batch_size=len(episodes))
        return {"priced": [json.dumps(_line(each), default=float) for each in priced]}


def _line(priced: Any) -> dict[str, Any]:
    of = {"question_id": priced.episode.question.id, "attempt": priced.episode.attempt}
    rewards = {
        name: {"return": priced.returns[name], "turns": turns} for name, turns in priced.rewards.items()
    }
    return {**of, "rewards": rewards}


def run(
    records: Path, out: Path, rewards: list[str], scorer: str, workers: int, batch_size: int, gpus: float
) -> None:
    """Price every line of ``records`` on ``workers`` actors, and write ``out`` in the same order."""
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    lines = ray.data.read_text(str(records.resolve()))  # a row a line, in the order of the file
    priced = lines.map_batches(
        Pricing,
        fn_constructor_args=(rewards, scorer),
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=0.5,  # of each worker; what reads the file needs a CPU beside them
        num_gpus=gpus,
    )
    with written_file(out) as written:
        for row in priced.iter_rows():  # streamed: no more than a few batches are on this machine
            written.write(row["priced"] + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("records", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--reward", action="append", required=True)
    parser.add_argument("--scorer", default="nano")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--gpus", type=float, default=0, help="of each worker")
    parser.add_argument("--batch-size", type=int, default=16)
    given = parser.parse_args()
    run(given.records, given.out, given.reward, given.scorer, given.workers, given.batch_size, given.gpus)
