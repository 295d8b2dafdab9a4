"""The rows of the study: every run, in order, as settings of ``igpo-gym train``. Nothing here is run.

A row is an arm with a seed. Arms are data: :data:`ARMS` says what differs from :data:`SHARED`. Two things
are decided by part 1 alone: the learning rates, and whether the study is slow (:class:`Tuned`).
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal

from igpo_gym.agents.training.folder import NOT_OF_A_RUN, fingerprints
from igpo_gym.agents.training.settings import NOT_TRAINED, Settings
from igpo_gym.config import shown
from igpo_gym.lm.names import PACKAGED, packaged_folder
from igpo_gym.specs import fingerprint

RATES = (1e-4, 3e-4, 1e-3)
"""The learning rates that part 1 chooses from."""

STARTS = {"start-05": 0.05, "start-15": 0.15, "start-35": 0.35}
"""The models that part 5 begins with, and their aim: success at three hops at temperature 1. They are
checkpoints of one run, made by ``python -m nano.starts``."""

SHARED: dict[str, Any] = {
    "model": "nano-base",
    "questions": "world#questions=2000,hops=1-4",
    "validation": "world:test#hops=1-4",
    "updates": 100,
    "validate_every": 25,
    "validation_questions": 500,
    "validation_temperature": 1.0,
    "batch_questions": 4,
    "group_size": 8,
    "max_turns": 6,
    "device": "cpu",
}
"""The settings of all rows, but for what an arm changes; others are the defaults of ``igpo-gym train``."""

TUNING = {
    "questions": "world#questions=2000,hops=1-4,seed=1",
    "validation": "world:validation#hops=1-4,seed=1",
    "updates": 40,
    "validate_every": 40,
}
"""What part 1 changes: it meets no question of the study, and no seed of it."""

THREE_HOPS = {"questions": "world#questions=2000,hops=3", "validation": "world:test#hops=3"}

NAMED = frozenset({*SHARED, "reward", "advantages", "scorer", "seed", "learning_rate"})
"""The settings that every row says."""

_OUTCOME = "outcome-f1 - 2*format-penalty"
_PLACEBO = "placebo-gain + f1 - 2*format-penalty"

Family = Literal["outcome", "gains"]


@dataclass(frozen=True, slots=True)
class Arm:
    """What is trained: a reward, an estimator, whose belief it is, and what else differs.

    >>> ARMS["grpo"].family, ARMS["igpo"].family
    ('outcome', 'gains')
    """

    name: str
    reward: str = "igpo"
    advantages: str = "igpo-separate"
    scorer: str | None = "policy"
    changed: tuple[tuple[str, Any], ...] = ()
    """Settings that differ from those that all rows share."""

    @property
    def family(self) -> Family:
        """Whose learning rate it has: that of outcome-only GRPO, or that of igpo."""
        return "outcome" if self.scorer is None else "gains"


def _at(start: str) -> tuple[tuple[str, Any], ...]:
    return (*THREE_HOPS.items(), ("model", start))


_ARMS = (
    Arm("grpo", _OUTCOME, "grpo", None),
    Arm("igpo"),
    Arm("igpo-joint", advantages="igpo-joint"),
    Arm("placebo", _PLACEBO),
    Arm("noise", _OUTCOME, "noise", None),
    Arm("igpo-3", changed=tuple(THREE_HOPS.items())),
    Arm("permuted-3", advantages="permuted", changed=tuple(THREE_HOPS.items())),
    Arm("last-gain", advantages="last-gain"),
    *(Arm(f"grpo-{start}", _OUTCOME, "grpo", None, _at(start)) for start in STARTS),
    *(Arm(f"igpo-{start}", changed=_at(start)) for start in STARTS),
    Arm("frozen", scorer="frozen"),
    Arm("frozen-nano", scorer="nano"),
    Arm("igpo-logprob", "igpo-logprob"),
    Arm("tips", "tips"),
    Arm("igpo-scaled", advantages="igpo-scaled"),
    Arm("a2tgpo", advantages="a2tgpo"),
)
ARMS = {arm.name: arm for arm in _ARMS}


@dataclass(frozen=True, slots=True)
class Part:
    """Arms whose runs are made together: seed after seed, each seed of all arms."""

    number: int
    title: str
    arms: tuple[tuple[str, int], ...]
    """Names of arms, each with its number of seeds."""


def parts(slow: bool = False) -> tuple[Part, ...]:
    """The parts of the study in their order; those of a slow study leave out 15%, and have H5 before H3."""
    starts = [start for start in STARTS if not (slow and start == "start-15")]
    tuning = Part(1, "tuning", (("grpo", 3), ("igpo", 3)))
    h3 = Part(5, "rarer outcomes (H3)", tuple((f"{arm}-{s}", 6) for s in starts for arm in ("grpo", "igpo")))
    h5 = Part(6, "whose belief (H5)", (("frozen", 6),))
    return (
        tuning,
        Part(2, "accuracy and efficiency (H1, H2)", (("grpo", 10), ("igpo", 10), ("igpo-joint", 6))),
        Part(3, "placebo", (("placebo", 6),)),
        Part(4, "controls (H4)", (("noise", 8), ("igpo-3", 8), ("permuted-3", 8), ("last-gain", 8))),
        *((h5, h3) if slow else (h3, h5)),
        *(
            Part(7 + place, f"variant: {name}", ((name, 6),))
            for place, name in enumerate(("frozen-nano", "igpo-logprob", "tips", "igpo-scaled", "a2tgpo"))
        ),
    )


def planned_seeds() -> dict[str, int]:
    """How many seeds each arm has behind part 1."""
    return {name: count for part in parts() for name, count in part.arms if part.number > 1}


@dataclass(frozen=True, slots=True)
class Tuned:
    """What part 1 decides."""

    rates: Mapping[Family, float]
    slow: bool
    """Whether an update costs more than ``SLOW`` seconds of a core."""


SLOW = 6.0


@dataclass(frozen=True, slots=True)
class Row:
    """A run of the study."""

    part: int
    arm: Arm
    seed: int
    learning_rate: float | None
    """None until part 1 has decided."""

    @property
    def start(self) -> str | None:
        """The model of :data:`STARTS` that it begins with; None for the packaged one."""
        model = dict(self.arm.changed).get("model")
        return model if model in STARTS else None

    def settings(self, starts: Path, changed: Mapping[str, Any]) -> Settings:
        """Those of ``igpo-gym train``; ``starts`` is the folder with the models of :data:`STARTS`.

        ``changed`` comes before all: it makes a small study of this one. Raises ValueError where the learning
        rate is not decided.
        """
        if self.learning_rate is None:
            raise ValueError(f"{self}: part 1 decides the learning rate, and is not whole yet")
        own = dict(self.arm.changed) | ({"model": str(starts / self.start)} if self.start else {})
        arm = {"reward": self.arm.reward, "advantages": self.arm.advantages, "scorer": self.arm.scorer}
        run = {"seed": self.seed, "learning_rate": self.learning_rate}
        return Settings(**SHARED | (TUNING if self.part == 1 else {}) | own | arm | run | dict(changed))

    @property
    def place(self) -> tuple[int, str, int, float | None]:
        """Which row it is, whatever its settings are."""
        return self.part, self.arm.name, self.seed, self.learning_rate

    def hash(self, settings: Settings) -> str:
        """Twelve hex digits for what the row says: settings that it names, or that are not the usual ones,
        and the files of its models.

        Where the files lie is left out, and so are settings that others are given: a version with further
        ones goes on with the same rows.
        """
        usual = shown(Settings())
        told = {
            name: value
            for name, value in shown(settings).items()
            if name not in NOT_OF_A_RUN and (name in NAMED or value != usual[name])
        }
        given = fingerprints(settings)
        for name in ("model", "scorer", "reference"):
            if packaged := _files(getattr(settings, name)):
                given[f"{name}_files"] = packaged
                given.pop(f"{name}_fingerprint", None)  # which older versions have of no packaged model
        told |= {name: value for name, value in given.items() if value}
        told["model"] = self.start or told["model"]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]

    def __str__(self) -> str:
        rate = "rate undecided" if self.learning_rate is None else f"rate {self.learning_rate:g}"
        return f"part {self.part}: {self.arm.name}, seed {self.seed}, {rate}"


def rows(tuned: Tuned | None = None) -> Iterator[Row]:
    """All rows in their order; without ``tuned`` the rates of the parts behind the first are None.

    >>> len([row for row in rows() if row.part <= 6])
    124
    """
    for part in parts(tuned is not None and tuned.slow):
        for seed in range(max(count for _, count in part.arms)):
            for name, count in part.arms:
                if seed >= count:
                    continue
                arm = ARMS[name]
                if part.number == 1:
                    for rate in RATES:
                        yield Row(1, arm, 100 + seed, rate)
                else:
                    yield Row(part.number, arm, seed, tuned.rates[arm.family] if tuned else None)


def command(settings: Settings, folder: str) -> str:
    """The command that makes a run of these settings, alone: with one thread, as the study makes them."""
    usual, names = Settings(), [each.name for each in fields(Settings) if each.name not in NOT_TRAINED]
    changed = {
        name: value
        for name in names
        if (value := getattr(settings, name)) != getattr(usual, name) or name in ("seed", "learning_rate")
    }
    given = [
        f"--{name.replace('_', '-')} {shlex.quote('none' if value is None else str(value))}"
        for name, value in changed.items()
    ]
    return " ".join(["OMP_NUM_THREADS=1 igpo-gym train", shlex.quote(folder), *given])


@cache
def _files(model: Any) -> str:
    return fingerprint(packaged_folder(model)) if model in PACKAGED else ""
