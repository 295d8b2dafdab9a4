"""The golden run: updates of the reference trainer on episodes that were recorded once.

Nothing is sampled. The trainer meets recorded episodes, asks the model in training for their beliefs, prices
them, computes advantages, and steps; the denominators of its ratios are those of its own forward pass, as at
every temperature but 1. So the whole of an update is at work but for the sampler, and its numbers may move by
rounding alone. ``golden/numbers.json`` holds them, how far they move from one thread to three, and what made
them. Both files are made again, as when the packaged model is another, by

    python -m tests.agents.training.golden_run record    # the episodes, by the packaged nano-base
    python -m tests.agents.training.golden_run measure   # the numbers, with one, two and three threads
"""

from __future__ import annotations

import gzip
import json
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from igpo_gym.agents.rollouts.records import from_record, json_line, to_record
from igpo_gym.agents.training.estimators import Floats, Turns
from igpo_gym.agents.training.run import Run
from igpo_gym.agents.training.settings import Settings
from igpo_gym.episode import Episode, Segment
from igpo_gym.lm.names import packaged_folder
from igpo_gym.specs import fingerprint
from igpo_gym.storage import written_file

HERE = Path(__file__).parent / "golden"
EPISODES, NUMBERS = HERE / "episodes.jsonl.gz", HERE / "numbers.json"
UPDATES = 20
THREADS = (1, 2, 3)
METRICS = ("loss", "grad_norm", "kl", "gain", "entropy")
MODEL = "nano-base"

SETTINGS = Settings(
    learning_rate=3e-4,
    model=MODEL,
    questions="world:train#documents=200,questions=100,hops=2",
    validation="world:validation#documents=60,questions=20,hops=1-2",
    batch_questions=1,
    group_size=4,
    max_turns=3,
    top_k=2,
    updates=UPDATES,
    temperature=0.9,
    validation_questions=4,
    device="cpu",
    precision="fp32",
)


class Replay(Run):
    """A run that meets recorded episodes in the place of new ones, and keeps the advantages of each batch."""

    def __init__(self, out: Path, settings: Settings, batches: Sequence[Sequence[Episode]]) -> None:
        super().__init__(out, settings)
        self.batches = batches
        self.seen: list[list[float]] = []

    def rollouts(self) -> list[Episode]:
        """The next recorded batch, with the beliefs and rewards that the model in training gives it."""
        self.publish()
        self._forget()
        episodes = [fresh(each) for each in self.batches[self.updates]]
        self.engine.price(episodes)
        return episodes

    def _advantages(self, turns: Turns) -> Floats:
        advantages = super()._advantages(turns)
        self.seen.append(advantages.tolist())
        return advantages


def fresh(episode: Episode) -> Episode:
    """The episode as it was played, before anything was measured."""
    return replace(episode, rewards=[], beliefs=[], measured=[], instruments={})


def replayed(updates: int = UPDATES, settings: Settings = SETTINGS) -> dict[str, Any]:
    """The metrics of each update, by name, and under "advantages" those of each batch, turn by turn."""
    with tempfile.TemporaryDirectory() as folder:
        run = Replay(Path(folder), settings, recorded())
        lines = [run.update() for _ in range(updates)]
    return {name: [line[name] for line in lines] for name in METRICS} | {"advantages": run.seen}


def recorded() -> list[list[Episode]]:
    """The recorded episodes, batch after batch."""
    with gzip.open(EPISODES, "rt", encoding="utf-8") as file:
        episodes = [from_record(json.loads(line)) for line in file]
    size = SETTINGS.batch_questions * SETTINGS.group_size
    return [episodes[at : at + size] for at in range(0, len(episodes), size)]


def distance(ours: Any, theirs: Any) -> float:
    """The largest difference between numbers at the same place."""
    flat = [np.concatenate([np.ravel(each) for each in values]) for values in (ours, theirs)]
    return float(np.abs(flat[0] - flat[1]).max())


def model_fingerprint() -> str:
    """A hash of the packaged model."""
    return fingerprint(packaged_folder(MODEL))


def record() -> None:
    """Write the episodes: ``nano-base`` plays them at temperature 1 and learns nothing."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), replace(SETTINGS, temperature=1.0))
        lines = []
        for run.updates in range(UPDATES):
            for episode in run.rollouts():
                turns = [replace(turn, segments=tuple(map(_bare, turn.segments))) for turn in episode.turns]
                lines.append(json_line(to_record(replace(fresh(episode), turns=turns))))
    EPISODES.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))


def _bare(segment: Segment) -> Segment:
    """Without the log-probabilities, which a replay computes."""
    return replace(segment, log_probs=None)


def measure() -> None:
    """Write the numbers, their spread over threads and what made them."""
    runs = []
    for threads in THREADS:
        torch.set_num_threads(threads)
        runs.append(replayed())
    spread = {name: max(distance(runs[0][name], each[name]) for each in runs) for name in runs[0]}
    made = {
        "model": model_fingerprint(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": THREADS,
    }
    with written_file(NUMBERS) as file:
        file.write(json.dumps({"made by": made, "spread": spread, "numbers": runs[0]}, indent=1) + "\n")


if __name__ == "__main__":
    {"record": record, "measure": measure}[sys.argv[1]]()
