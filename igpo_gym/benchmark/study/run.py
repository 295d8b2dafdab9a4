"""Makes the study's runs, part after part, and keeps what each came to as a line of ``runs.jsonl``.

Started again, the study goes on where it was, within a run as well. Each run has one thread, so that a row
made again gives the same numbers on the same machine, however many runs there are at a time.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import igpo_gym
from igpo_gym.agents.rollouts.costs import Meter
from igpo_gym.agents.training.logs import Metrics, read_log
from igpo_gym.agents.training.settings import Settings
from igpo_gym.benchmark.study.records import RUNS, StudyRun, read_runs
from igpo_gym.benchmark.study.rows import (
    ARMS,
    RATES,
    SHARED,
    SLOW,
    TUNING,
    Family,
    Row,
    Tuned,
    command,
    parts,
    rows,
)
from igpo_gym.benchmark.training.measures import final
from igpo_gym.benchmark.training.outcomes import AXES, Variant, summarized
from igpo_gym.benchmark.training.run import Job, cpu_seconds, trained
from igpo_gym.errors import SpecError
from igpo_gym.storage import append_line, cache_dir, held

VALIDATED = ("f1", "em", "invalid", "guessed", "forged", "tool_turns", "completion_tokens")
"""What is kept of each validation, beside ``AXES``, and F1 and exact match by the number of hops."""


Report = Callable[[Row, Metrics], None]
"""Takes the metrics of an update of a row's run."""


class Planned(NamedTuple):
    """A row, and how far it is."""

    row: Row
    hash: str | None
    """None where it is not known yet."""
    done: bool


@dataclass(frozen=True, slots=True)
class Study:
    """Where the study is, and with what it is made."""

    out: Path
    starts: Path
    """The folder of the models that part 5 begins with."""
    changed: tuple[tuple[str, Any], ...] = ()
    """Settings that come before all others: none for the study itself."""

    def runs(self) -> list[StudyRun]:
        """The finished runs."""
        return list(read_runs(self.out / RUNS))

    def settings(self, row: Row) -> Settings | None:
        """The settings of a row; None where its learning rate or its model is not there yet."""
        absent = row.start is not None and not (self.starts / row.start).exists()
        return None if absent or row.learning_rate is None else row.settings(self.starts, dict(self.changed))

    def hash(self, row: Row) -> str | None:
        """The row's hash; None where it is not known yet."""
        settings = self.settings(row)
        return None if settings is None else row.hash(settings)

    def plan(self) -> Iterator[Planned]:
        """All rows in their order. Of a finished run whose model is gone the hash is the one recorded."""
        runs = self.runs()
        done = {run.place: run.hash for run in runs}
        for row in rows(tuned(runs)):
            name = self.hash(row) or done.get(row.place)
            yield Planned(row, name, name in done.values())

    def find(self, name: str) -> Row:
        """The row whose hash begins so. Raises SpecError where none does, or several do."""
        found = [row for row in rows(tuned(self.runs())) if (self.hash(row) or "").startswith(name)]
        if not name or len(found) != 1:
            raise SpecError(f"{len(found)} rows have a hash that begins with {name!r}; see --list")
        return found[0]

    def folder(self, row: Row) -> Path:
        """The folder of its run."""
        return self.out / "runs" / str(self.hash(row))


def default_folder() -> Path:
    """Where the study is by default, in the cache folder."""
    return cache_dir() / "study"


def tuned(runs: Sequence[StudyRun]) -> Tuned | None:
    """What part 1 decides; None where it is not whole.

    Each family has the rate whose runs have the highest mean of F1 at their end, the lower one of equals. The
    study is slow if an update of the runs of ``igpo`` took more than ``SLOW`` seconds of a core in the mean.
    """
    done = {(run.arm, run.seed, run.learning_rate): run for run in runs if run.part == 1}
    if any((row.arm.name, row.seed, row.learning_rate) not in done for row in rows() if row.part == 1):
        return None
    rates: dict[Family, float] = {}
    for name in ("grpo", "igpo"):
        ends = {
            rate: fmean(
                final(run.outcome) for run in done.values() if (run.arm, run.learning_rate) == (name, rate)
            )
            for rate in RATES
        }
        rates[ARMS[name].family] = max(RATES, key=lambda rate: (round(ends[rate], 9), -rate))
    cost = fmean(run.update_seconds for run in done.values() if run.arm == "igpo")
    return Tuned(rates, cost > SLOW)


def run_study(
    study: Study,
    part: int | None = None,
    jobs: int = 1,
    report: Report = lambda row, metrics: None,
    meter: Meter | None = None,
) -> None:
    """Go on with the study: the parts in their order, each whole before the next; or one part alone.

    ``jobs`` runs are made at a time. Where the ``meter``'s budget is used up, the runs that are under way
    write their checkpoints, and BudgetSpentError is raised. Raises SpecError for a part that does not exist
    or cannot begin, and BlockingIOError if another process is at work in the folder.
    """
    meter = meter or Meter()
    numbers = [each.number for each in parts(slow=False)]
    if part is not None and part not in numbers:
        raise SpecError(f"the study has the parts {numbers[0]} to {numbers[-1]}, not {part}")
    with held(study.out):
        chosen = [part] if part is not None else [1, *(each for each in _order(study) if each != 1)]
        place = 0
        while place < len(chosen):
            _run_part(study, chosen[place], jobs, report, meter)
            if part is None and chosen[place] == 1:
                chosen = _order(study)  # which part 1 decides
            place += 1


def _order(study: Study) -> list[int]:
    known = tuned(study.runs())
    return [each.number for each in parts(known is not None and known.slow)]


def _run_part(study: Study, part: int, jobs: int, report: Report, meter: Meter) -> None:
    """Make what is missing of a part. Only rows that are missing need their models."""
    runs = study.runs()
    known, done = tuned(runs), {run.place: run.hash for run in runs}
    planned: dict[Job, Row] = {}
    for row in rows(known):
        if row.part != part:
            continue
        settings = study.settings(row)
        if row.learning_rate is None:
            raise SpecError(f"part {part} needs the learning rates that part 1 decides: run part 1 first")
        if settings is None:
            if row.place in done:
                continue  # what it began with may be gone
            raise SpecError(
                f"part {part} begins with {row.start}, which is not in {study.starts}: make it with "
                f"python -m nano.starts RUN {study.starts}"
            )
        if row.place not in done:
            planned[Job(study.folder(row), settings)] = row
        elif done[row.place] != row.hash(settings):
            raise SpecError(
                f"{row} is in {study.out / RUNS} with other settings or models ({done[row.place]}, now "
                f"{row.hash(settings)}): go on with those, or begin a study in another folder (--out)"
            )
    made = trained(
        list(planned), lambda job, metrics: report(planned[job], metrics), jobs, threads=1, meter=meter
    )
    left = dict(planned)
    for job in made:
        append_line(study.out / RUNS, asdict(study_run(left.pop(job), job)))
    meter.check(len(planned) - len(left), len(planned), f"missing runs of part {part}")


def study_run(row: Row, job: Job) -> StudyRun:
    """What a finished run came to, numbers with six digits."""
    arm = row.arm
    made = summarized(Variant(arm.reward, arm.advantages), job.settings, read_log(job.folder / "log.jsonl"))
    names = {*AXES, *(f"validation_{name}" for name in VALIDATED)}
    curve = tuple(
        {name: _short(x) for name, x in point.items() if name in names or "_hops_" in name}
        for point in made.curve
    )
    means, peaks = ({name: _short(x) for name, x in each.items()} for each in (made.means, made.peaks))
    seconds, update_seconds = cpu_seconds(job.folder)
    return StudyRun(
        hash=(hash_ := row.hash(job.settings)),
        part=row.part,
        arm=arm.name,
        seed=row.seed,
        learning_rate=job.settings.learning_rate,
        command=command(job.settings, f"runs/{hash_}"),
        core_seconds=round(seconds, 1),
        update_seconds=round(update_seconds, 3),
        source=source(),
        outcome=replace(made, curve=curve, means=means, peaks=peaks),
    )


@cache
def source() -> str:
    """Twelve hex digits for the package's code, but for its commands, pages and adapters."""
    package = Path(igpo_gym.__file__).parent
    left = {"adapters", "benchmark", "cli", "viewer"}
    files = sorted(p for p in package.rglob("*.py") if p.relative_to(package).parts[0] not in left)
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(package).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _short(value: float) -> float:
    return int(value) if float(value).is_integer() else float(f"{value:.6g}")


def again(
    study: Study, name: str, report: Report = lambda row, metrics: None
) -> tuple[StudyRun, StudyRun | None]:
    """Make the row whose hash begins with ``name`` alone, in a folder of its own.

    Returns the run, and the recorded one if there is one: on the same machine their curves are equal but for
    the time.
    """
    row = study.find(name)
    settings = study.settings(row)
    assert settings is not None, "a row without settings has no hash"
    job = Job(study.out / "again" / row.hash(settings), settings)
    with held(study.out):
        lines = read_log(job.folder / "log.jsonl")
        if lines and lines[-1]["update"] == settings.updates:
            shutil.rmtree(job.folder)  # made again before, and to be made again
        for _ in trained([job], lambda _, metrics: report(row, metrics), threads=1):
            pass
    recorded = {run.hash: run for run in study.runs()}
    made = study_run(row, job)
    return made, recorded.get(made.hash)


def equal_curves(ours: StudyRun, theirs: StudyRun) -> bool:
    """Whether two runs came to the same at every validation, time apart."""

    def without_seconds(run: StudyRun) -> list[Metrics]:
        return [{name: x for name, x in point.items() if name != "seconds"} for point in run.outcome.curve]

    return without_seconds(ours) == without_seconds(theirs)


def core_hours(study: Study) -> list[tuple[str, int, int, float]]:
    """For each part its title, how many rows it has, how many are there, and the core-hours left.

    A run is taken to cost what the mean run of its arm did, for each update; where there is none yet what the
    mean of all did; and ``SLOW`` seconds an update before the first run.
    """
    runs, plan = study.runs(), list(study.plan())
    known = tuned(runs)
    costs: dict[str, list[float]] = {}
    for run in runs:
        updates = run.outcome.curve[-1]["update"]
        costs.setdefault(run.arm, []).append(run.core_seconds / max(1, updates))
    overall = fmean(cost for each in costs.values() for cost in each) if costs else SLOW
    found = []
    for part in parts(known is not None and known.slow):
        own = [each for each in plan if each.row.part == part.number]
        missing = [each.row for each in own if not each.done]
        usual = TUNING if part.number == 1 else SHARED
        updates = dict(study.changed).get("updates", usual["updates"])
        left = sum(updates * fmean(costs.get(row.arm.name, [overall])) for row in missing)
        found.append((f"{part.number} {part.title}", len(own), len(own) - len(missing), left / 3600))
    return found
