"""Trains every variant with every seed, and keeps what each run came to as a line of JSON.

The folder holds a run's folder for each (see ``agents.igpo``) and ``runs.jsonl``. Started again, the
benchmark goes on where it was, within a run as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from igpo_gym.agents.logs import Metrics, read_log
from igpo_gym.agents.settings import Settings
from igpo_gym.errors import DataError
from igpo_gym.rewards import resolve_reward


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


SUITE = (
    Variant("outcome-f1", "grpo"),
    Variant("igpo", "igpo-joint"),
    Variant("igpo", "igpo-separate"),
    Variant("igpo-logprob", "igpo-separate"),
    Variant("tips", "igpo-separate"),
    Variant("igpo", "a2tgpo"),
)
"""What is compared by default; the first is the baseline."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: its curve, a point per validation, and means over its updates."""

    variant: Variant
    seed: int
    curve: tuple[Metrics, ...]
    """With ``update``, ``tokens`` (written by the agent so far), ``seconds`` (of training so far) and
    ``validation_*``."""
    means: Metrics
    """Of what training itself measured: ``collapsed_groups``, ``searches``, ``written``, ``invalid``, ..."""


def run_training(
    out: Path,
    settings: Settings,
    variants: Sequence[Variant] = SUITE,
    seeds: int = 5,
    report: Callable[[Variant, int, Metrics], None] = lambda variant, seed, metrics: None,
) -> list[Outcome]:
    """Train with ``settings`` but for the variant's reward and advantages, and the seed (0, 1, ...).

    Runs that ``out`` has are not made again. All variants of a seed meet the same questions. Where a reward
    asks for no belief, none is computed, so that time is what the variant costs. ``report`` gets the metrics
    of every update. Raises DataError if the folder holds runs with other settings, and what
    :func:`igpo_gym.agents.igpo.train` raises.
    """
    from igpo_gym.agents.igpo import train

    plan = [(variant, _settings(settings, variant, seed)) for seed in range(seeds) for variant in variants]
    path = out / "runs.jsonl"
    done = {(outcome.variant, outcome.seed): outcome for outcome in read_outcomes(path, settings)}
    for variant, chosen in plan:
        if (variant, chosen.seed) in done:
            continue
        folder = out / "runs" / _file_name(variant) / f"seed-{chosen.seed}"
        train(folder, chosen, partial(report, variant, chosen.seed))
        outcome = summarised(variant, chosen.seed, read_log(folder / "log.jsonl"))
        out.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps({"settings": shared(settings), **asdict(outcome)}) + "\n")
        done[variant, chosen.seed] = outcome
    return [done[variant, chosen.seed] for variant, chosen in plan]


def _settings(settings: Settings, variant: Variant, seed: int) -> Settings:
    paid = resolve_reward(variant.reward)
    return replace(
        settings,
        reward=variant.reward,
        advantages=variant.advantages,
        scorer=settings.scorer if "scorer" in paid.needs else "none",
        seed=seed,
    )


def summarised(variant: Variant, seed: int, log: Sequence[Metrics]) -> Outcome:
    """What a run's log comes to."""
    kept = ("update", "tokens", "seconds")
    curve = [
        {name: x for name, x in line.items() if name in kept or name.startswith("validation_")}
        for line in log
        if "validation_f1" in line
    ]
    updates = [line for line in log if line["update"] > 0]
    names = [name for name in updates[0] if name not in kept and not name.startswith("validation_")]
    means = {name: sum(line[name] for line in updates) / len(updates) for name in names}
    # Before the first update nothing had been written, and no time been spent.
    return Outcome(variant, seed, tuple({"tokens": 0, "seconds": 0.0} | point for point in curve), means)


def shared(settings: Settings) -> dict[str, Any]:
    """The settings that all runs of a benchmark have in common."""
    own = ("reward", "advantages", "seed")
    return {f.name: getattr(settings, f.name) for f in fields(settings) if f.name not in own}


def read_outcomes(path: Path, settings: Settings | None = None) -> Iterator[Outcome]:
    """The finished runs of a file. Raises DataError where they were made with other settings than these."""
    if not path.exists():
        return
    for number, line in enumerate(path.read_text().splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            continue  # cut short by a crash; the run itself is whole, and is summarised again
        record = json.loads(line)
        if settings is not None and record["settings"] != shared(settings):
            changed = [name for name, x in shared(settings).items() if record["settings"].get(name) != x]
            raise DataError(path, f"made with other settings ({', '.join(changed)})", number)
        variant = Variant(*record["variant"])
        yield Outcome(variant, record["seed"], tuple(record["curve"]), record["means"])


def _file_name(variant: Variant) -> str:
    """The variant as a folder's name: what is no letter or digit becomes a dash."""
    return "-".join("".join(c if c.isalnum() else " " for c in str(variant)).split())
