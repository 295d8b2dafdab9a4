"""The study's finished runs: a line of ``runs.jsonl`` each, which is checked where it is read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from igpo_gym.agents.rollouts.records import what_is_wrong
from igpo_gym.agents.training.logs import Metrics
from igpo_gym.benchmark.study.rows import ARMS, RATES, Family, rows
from igpo_gym.benchmark.training.outcomes import Outcome, Variant, outcome_of
from igpo_gym.errors import DataError
from igpo_gym.storage import complete_lines

RUNS = "runs.jsonl"

_ROWS = frozenset((row.part, row.arm.name, row.seed) for row in rows())


@dataclass(frozen=True, slots=True)
class StudyRun:
    """A finished row."""

    hash: str
    part: int
    arm: str
    seed: int
    learning_rate: float
    command: str
    """Makes it again, alone."""
    core_seconds: float
    """What it took, validations included."""
    update_seconds: float
    """What an update took, of a core, where none was validated."""
    source: str
    """Of the code that finished it (see :func:`igpo_gym.benchmark.study.run.source`)."""
    outcome: Outcome

    @property
    def place(self) -> tuple[int, str, int, float | None]:
        """Which row it is a run of."""
        return self.part, self.arm, self.seed, self.learning_rate


def read_runs(path: Path) -> Iterator[StudyRun]:
    """The finished runs of a file, which need not exist.

    Raises DataError for a line that is no run of the study, and for runs that were not made alike: two of one
    row, or with other learning rates or validations than those that they are compared with.
    """
    seen: set[tuple[int, str, int, float | None]] = set()
    rates: dict[Family, float] = {}
    validations: dict[tuple[bool, Any], object] = {}
    for number, line in complete_lines(path):  # the run of one that was cut short is summarized again
        try:
            found: Mapping[str, Any] = json.loads(line)
            run = StudyRun(**{**found, "outcome": outcome_of(found["outcome"])})
            _check(run)
        except (KeyError, OverflowError, RecursionError, TypeError, ValueError) as problem:
            raise DataError(path, f"not a run of the study ({what_is_wrong(problem)})", number) from problem
        if run.place in seen:
            raise DataError(path, f"a second run of part {run.part}: {run.arm}, seed {run.seed}", number)
        seen.add(run.place)
        arm, tuning = ARMS[run.arm], run.part == 1
        if not tuning and rates.setdefault(arm.family, run.learning_rate) != run.learning_rate:
            raise DataError(path, f"another learning rate than the runs before: {run.learning_rate}", number)
        world = tuning, dict(arm.changed).get("validation")
        if validations.setdefault(world, _validated(run)) != _validated(run):
            raise DataError(path, "validated after other updates or numbers of hops than before", number)
        yield run


def _check(run: StudyRun) -> None:
    """Raise KeyError, TypeError or ValueError for what no run of the study says."""
    if (run.part, run.arm, run.seed) not in _ROWS or run.learning_rate not in RATES:
        raise ValueError(
            f"the study has no row of part {run.part!r}: {run.arm!r}, seed {run.seed!r}, "
            f"rate {run.learning_rate!r}"
        )
    arm, outcome = ARMS[run.arm], run.outcome
    if (outcome.variant, outcome.seed) != (Variant(arm.reward, arm.advantages), run.seed):
        raise ValueError(f"its outcome is one of {outcome.variant}, seed {outcome.seed!r}")
    if not all(isinstance(text, str) for text in (run.hash, run.command, run.source)):
        raise ValueError("hash, command and source are texts")
    _check_number("core_seconds", run.core_seconds, 0.0)
    others = {"update_seconds": run.update_seconds, "stopped": outcome.stopped or 0}  # the first may be nan
    for name, value in (outcome.means | outcome.peaks | others).items():
        _check_number(name, value)
    if not outcome.curve or not any("_f1_hops_" in name for name in outcome.curve[-1]):
        raise ValueError("its curve has no validation with F1 by hops at its end")
    for point in outcome.curve:
        _check_point(point)


def _check_point(point: Metrics) -> None:
    for name in ("update", "tokens", "seconds", "validation_f1"):
        _check_number(name, point[name], 0.0)
    for name, value in point.items():
        if name.startswith("validation_f1"):
            _check_number(name, value, 0.0, 1.0)
        else:
            _check_number(name, value)


def _check_number(name: str, value: object, least: float | None = None, most: float = math.inf) -> None:
    """Raise ValueError for what is no number; with ``least`` for one that is not finite and within bounds."""
    if not isinstance(value, int | float) or (
        least is not None and not (least <= value <= most and math.isfinite(value))
    ):
        raise ValueError(f"{name} is {value!r}")


def _validated(run: StudyRun) -> object:
    """What must be alike in runs that are compared: after which updates, and for which numbers of hops."""
    curve = run.outcome.curve
    return [point["update"] for point in curve], sorted(name for name in curve[-1] if "_f1_hops_" in name)
