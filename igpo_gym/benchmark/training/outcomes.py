"""What a finished run came to: its curve, means over its updates, and how they are written and read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from igpo_gym.agents.training.folder import NOT_OF_A_RUN, fingerprints
from igpo_gym.agents.training.logs import Metrics
from igpo_gym.agents.training.settings import Settings
from igpo_gym.config import shown
from igpo_gym.errors import DataError
from igpo_gym.storage import changed, complete_lines

AXES = ("update", "tokens", "seconds")
"""What each point of a curve has, and curves are drawn against."""


class Variant(NamedTuple):
    """What is compared: a reward, and an estimator of advantages."""

    reward: str
    advantages: str

    def __str__(self) -> str:
        return f"{self.reward} / {self.advantages}"

    @classmethod
    def parse(cls, text: str) -> Variant:
        """From "reward/advantages"; without a slash the advantages are igpo-separate."""
        reward, _, advantages = text.rpartition("/") if "/" in text else (text, "", "igpo-separate")
        return cls(reward.strip(), advantages.strip())


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: its curve, a point per validation, and means over its updates."""

    variant: Variant
    seed: int
    curve: tuple[Metrics, ...]
    """With ``update``, ``tokens`` (written by the agent so far), ``seconds`` (of training so far) and
    ``validation_*``."""
    means: Metrics
    """Of what training itself measured: ``collapsed_groups``, ``tool_turns``, ``invalid``, ..."""
    peaks: Metrics = field(default_factory=dict)
    """The highest value of each alarm's curve over all updates (see
    :mod:`igpo_gym.agents.training.alarms`)."""
    stopped: int | None = None
    """After how many updates it could not go on; None for a run that did."""


_SCORE = re.compile(r"validation_(f1|em)(_hops_\d+)?")


def summarized(variant: Variant, settings: Settings, log: Sequence[Metrics]) -> Outcome:
    """What the log of a run comes to, which has been made as far as it can be.

    At the validations that it lacks its scores are 0, and nothing else is known.
    """
    curve = [
        {name: x for name, x in line.items() if name in AXES or name.startswith(("alarm_", "validation_"))}
        for line in log
        if "validation_f1" in line
    ]
    updates = [line for line in log if line["update"] > 0]
    found: dict[str, list[float]] = {}  # a batch that was not learned from has not all of them
    for line in updates:
        for name, value in line.items():
            if name not in AXES and not name.startswith("validation_"):
                found.setdefault(name, []).append(value)
    peaks = {name: max(values) for name, values in found.items() if name.startswith("alarm_")}
    means = {name: sum(values) / len(values) for name, values in found.items() if name not in peaks}
    # Before the first update nothing had been written, and no time been spent.
    none_yet = {"tokens": 0, "seconds": 0.0}
    points = [none_yet | point for point in curve]
    last, spent = int(log[-1]["update"]), {name: log[-1].get(name, none) for name, none in none_yet.items()}
    nothing = spent | {name: 0.0 for point in points for name in point if _SCORE.fullmatch(name)}
    lacking = [update for update in range(last + 1, settings.updates + 1) if settings.validates(update)]
    points += [nothing | {"update": update} for update in lacking]
    return Outcome(variant, settings.seed, tuple(points), means, peaks, last if lacking else None)


def outcome_of(record: Mapping[str, Any]) -> Outcome:
    """What was written of a run. Raises KeyError, TypeError or ValueError for what is none."""
    curve = tuple(map(dict, record["curve"]))
    means, peaks = dict(record["means"]), dict(record.get("peaks", {}))
    return Outcome(Variant(*record["variant"]), record["seed"], curve, means, peaks, record.get("stopped"))


def shared(settings: Settings) -> dict[str, Any]:
    """The settings that all runs of a benchmark have in common."""
    own = ("reward", "advantages", "seed", *NOT_OF_A_RUN)
    return {name: value for name, value in shown(settings).items() if name not in own}


def read_outcomes(path: Path, settings: Settings | None = None) -> Iterator[Outcome]:
    """The finished runs of a file.

    Raises DataError for a line that is no run, for a second run of a variant and seed, and where runs were
    made with other settings than these, or with other fingerprints (see
    :func:`igpo_gym.agents.training.folder.fingerprints`).
    """
    seen: set[tuple[Variant, int]] = set()
    now = fingerprints(settings) if settings else {}
    for number, line in complete_lines(path):  # the run of one that was cut short is summarized again
        try:
            record = json.loads(line)
            theirs = dict(record["settings"])
            outcome = outcome_of(record)
        except (KeyError, RecursionError, TypeError, ValueError) as problem:
            raise DataError(path, f"not a finished run ({problem!r})", number) from problem
        if settings is not None and (names := changed(theirs, shared(settings) | now, now)):
            raise DataError(path, f"made with other settings ({names})", number)
        if (outcome.variant, outcome.seed) in seen:
            raise DataError(path, f"a second run of {outcome.variant}, seed {outcome.seed}", number)
        seen.add((outcome.variant, outcome.seed))
        yield outcome
