"""Where the metrics of a run go: a file always, TensorBoard and Weights & Biases if they are installed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from igpo_gym.errors import DataError
from igpo_gym.libraries import needs
from igpo_gym.storage import complete_lines, full_disk_named, written_file

Metrics: TypeAlias = dict[str, float]
Sink: TypeAlias = Callable[[Metrics], None]
"""Takes the metrics of an update, whose number is among them."""


def sinks(out: Path, settings: dict[str, Any], done: int, wandb: bool) -> list[Sink]:
    """All that is to be written to, for a run in ``out`` that goes on after update ``done``.

    What a run that was cut off had written beyond its checkpoint is forgotten. Raises MissingExtraError if
    Weights & Biases is wanted and not installed.
    """
    chosen = [weights_and_biases(out, settings)] if wandb else []  # first: it may not be installed
    chosen.append(json_lines(out / "log.jsonl", done))
    if find_spec("tensorboard"):
        chosen.append(tensorboard(out / "tensorboard", done))
    return chosen


def json_lines(path: Path, done: int) -> Sink:
    """A line of JSON per update; each is with the operating system before the next begins.

    Of the lines that are there, those up to update ``done`` stay.
    """
    kept = [line for line in read_log(path) if line["update"] <= done]
    with written_file(path) as whole:
        whole.writelines(json.dumps(line) + "\n" for line in kept)
    file = path.open("a", encoding="utf-8")

    def write(metrics: Metrics) -> None:
        with full_disk_named(path):
            file.write(json.dumps(metrics) + "\n")
            file.flush()

    return write


def read_log(path: Path) -> list[Metrics]:
    """The lines of a run's ``log.jsonl``; one that a crash cut short is left out. None without the file.

    Raises DataError, with the line, for one that is no metrics of an update.
    """
    return [_metrics(path, number, line) for number, line in complete_lines(path)]


def _metrics(path: Path, number: int, line: bytes) -> Metrics:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("update"), int | float):
        raise DataError(path, "no metrics of an update: remove the line, or choose another folder", number)
    return found


def tensorboard(folder: Path, done: int) -> Sink:
    """Event files for TensorBoard, with a tag per metric."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder), purge_step=done + 1)

    def write(metrics: Metrics) -> None:
        for name, value in metrics.items():
            writer.add_scalar(name, value, int(metrics["update"]))
        writer.flush()

    return write


def weights_and_biases(out: Path, settings: dict[str, Any]) -> Sink:
    """A run of Weights & Biases in the project "igpo-gym"; the same folder is the same run."""
    with needs("logging to Weights & Biases", "wandb", "wandb"):
        import wandb
    name = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:12]
    run = wandb.init(
        project="igpo-gym", dir=str(out), config=settings, id=name, name=out.name, resume="allow"
    )
    return lambda metrics: run.log(metrics, step=int(metrics["update"]))
