"""Trains every variant with every seed, and keeps what each run came to as a line of JSON.

The folder holds a run's folder for each (see :mod:`igpo_gym.agents.training.trainer`) and ``runs.jsonl``.
Started again, the benchmark goes on where it was, within a run as well. Runs may be made side by side, in
processes that share the cores: a small model does not keep several cores busy.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from typing import Any, NamedTuple
from urllib.parse import quote

from igpo_gym.agents.rollouts.costs import Meter, Spent
from igpo_gym.agents.training.folder import fingerprints
from igpo_gym.agents.training.logs import Metrics, read_log
from igpo_gym.agents.training.settings import Settings
from igpo_gym.benchmark.training.bias import OUTCOMES, drift
from igpo_gym.benchmark.training.measures import curves
from igpo_gym.benchmark.training.outcomes import Outcome, Variant, read_outcomes, shared, summarized
from igpo_gym.errors import LearningError
from igpo_gym.rewards import resolve_reward
from igpo_gym.statistics import Estimate
from igpo_gym.storage import append_line, held

logger = logging.getLogger(__name__)


SUITE = (
    Variant("outcome-f1", "grpo"),
    Variant("outcome-f1 - 2*format-penalty", "grpo"),
    Variant("igpo", "igpo-joint"),
    Variant("igpo", "igpo-separate"),
    Variant("igpo-logprob", "igpo-separate"),
    Variant("tips", "igpo-separate"),
    Variant("igpo", "a2tgpo"),
)
"""What is compared by default; the first is the baseline. The second pays the very outcome that the others
pay besides their gains, and so tells what the gains do from what the penalty does."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """All that the report is made from."""

    outcomes: tuple[Outcome, ...]
    baseline: Variant
    settings: Mapping[str, Any]
    bias: Mapping[str, Mapping[str, Estimate]]
    """The drift of each estimator on noise, by the kind of outcome (see ``bias.OUTCOMES``)."""

    @property
    def threshold(self) -> float:
        """The F1 to reach: the best mean of the baseline's runs."""
        return max(height.value for _, height in curves(self.outcomes, "update")[self.baseline])


Report = Callable[[Variant, int, Metrics], None]
"""Takes the metrics of an update of a variant's run with a seed."""


class Job(NamedTuple):
    """A run to make: a folder of its own, and its settings."""

    folder: Path
    settings: Settings


OnUpdate = Callable[[Job, Metrics], None]
"""Takes the metrics of an update of a run."""


def run_training(
    out: Path,
    settings: Settings,
    variants: Sequence[Variant] = SUITE,
    seeds: int = 5,
    report: Report = lambda variant, seed, metrics: None,
    jobs: int = 1,
    meter: Meter | None = None,
) -> list[Outcome]:
    """Train with ``settings`` but for the variant's reward and advantages, and the seed (0, 1, ...).

    A variant that comes twice is trained once. Runs that ``out`` has are not made again; of the others
    ``jobs`` are made at a time. All variants of a seed meet the same questions. Where a reward asks for no
    belief, none is computed, so that time is what the variant costs. ``report`` gets the metrics of every
    update. A run that cannot go on (LearningError) has scores of 0 at the validations that it lacks. Where
    the ``meter``'s budget is used up, the runs that are under way write their checkpoints, and
    BudgetSpentError is raised. Raises DataError if the folder holds runs with other settings, BlockingIOError
    if another process is at work in it, and what :func:`igpo_gym.agents.training.trainer.train` raises.
    """
    with held(out):
        return _run_training(out, settings, variants, seeds, report, jobs, meter or Meter())


def _planned(settings: Settings, variants: Sequence[Variant], seeds: int) -> list[tuple[Variant, Settings]]:
    unique = dict.fromkeys(variants)
    return [(variant, _settings(settings, variant, seed)) for seed in range(seeds) for variant in unique]


def missing_runs(
    out: Path, settings: Settings, variants: Sequence[Variant], seeds: int
) -> dict[Variant, list[Job]]:
    """The runs of each variant that :func:`run_training` would still make, or go on with."""
    done = {(outcome.variant, outcome.seed) for outcome in read_outcomes(out / "runs.jsonl", settings)}
    found: dict[Variant, list[Job]] = {}
    for variant, chosen in _planned(settings, variants, seeds):
        if (variant, chosen.seed) not in done:
            found.setdefault(variant, []).append(Job(_folder(out, variant, chosen), chosen))
    return found


def _run_training(
    out: Path,
    settings: Settings,
    variants: Sequence[Variant],
    seeds: int,
    report: Report,
    jobs: int,
    meter: Meter,
) -> list[Outcome]:
    plan = _planned(settings, variants, seeds)
    path, now = out / "runs.jsonl", fingerprints(settings)
    done = {(outcome.variant, outcome.seed): outcome for outcome in read_outcomes(path, settings)}
    missing = [(variant, chosen) for variant, chosen in plan if (variant, chosen.seed) not in done]
    plans = {Job(_folder(out, variant, chosen), chosen): variant for variant, chosen in missing}

    def report_job(job: Job, metrics: Metrics) -> None:
        report(plans[job], job.settings.seed, metrics)

    for job in trained(list(plans), report_job, jobs, meter=meter):
        variant, chosen = plans[job], job.settings
        outcome = summarized(variant, chosen, read_log(job.folder / "log.jsonl"))
        append_line(path, {"settings": shared(settings) | now, **asdict(outcome)})
        done[variant, chosen.seed] = outcome
    meter.check(len(done), len(plan), "runs")
    return [done[variant, chosen.seed] for variant, chosen in plan]


def result_of(outcomes: Sequence[Outcome], variants: Sequence[Variant], settings: Settings) -> TrainingResult:
    """What the runs of these variants come to, which have these settings in common.

    The first variant is the baseline. How each estimator drifts on noise is computed.
    """
    bias = {
        name: {kind: drift(name, outcome, gamma=settings.gamma) for kind, outcome in OUTCOMES.items()}
        for name in dict.fromkeys(variant.advantages for variant in variants)
    }
    return TrainingResult(tuple(outcomes), variants[0], shared(settings), bias)


def trained(
    runs: Sequence[Job],
    report: OnUpdate = lambda job, metrics: None,
    jobs: int = 1,
    threads: int | None = None,
    meter: Meter | None = None,
) -> Iterator[Job]:
    """Make runs, so many ``jobs`` at a time, or go on with those that were begun; gives each when it is done,
    or cannot go on.

    Every run has ``threads`` threads; by default those of this process where there is one job, else its share
    of the cores. Where the ``meter``, which counts what they spend, is over its budget, the runs that are
    under way write their checkpoints and stop, and no other is begun; none of these is given.
    """
    meter = meter or Meter()
    if jobs == 1:
        with _threads(threads):
            for job in runs:
                count_here = partial(_count, job, report=report, meter=meter)
                if _train(job, count_here, lambda: meter.over):
                    yield job
        return
    context = get_context("spawn")  # a fork would share the threads of a parent that has used torch
    threads = threads or max(1, (os.cpu_count() or 1) // jobs)
    with (
        context.Manager() as manager,  # which lets interrupts be
        ProcessPoolExecutor(jobs, context, initializer=_use_threads, initargs=(threads,)) as pool,
    ):
        updates, over = manager.Queue(), manager.Event()
        listener = Thread(target=_pass_on, args=(updates, report, meter, over))
        listener.start()
        others = active_children()
        try:
            with _uninterrupted():
                futures = {pool.submit(_train_telling, job, updates, over): job for job in runs}
            for future in as_completed(futures):
                if future.result():
                    yield futures[future]
        except (KeyboardInterrupt, GeneratorExit):
            for worker in active_children():
                if worker not in others:
                    worker.terminate()  # its run goes on from the last checkpoint
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            updates.put(None)
            listener.join()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """No Ctrl-C reaches the processes that the block begins, which would each tell where they were; one at
    this process comes when the block has ended. On Windows it reaches them."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


Counted = Callable[[Metrics, Spent], None]
"""Takes the metrics of an update, and what it spent, but for the time: that passes for all runs alike."""


def _count(job: Job, metrics: Metrics, spent: Spent, report: OnUpdate, meter: Meter) -> None:
    meter.add(spent)
    report(job, metrics)


def _train(job: Job, report: Counted, stop: Callable[[], bool]) -> bool:
    """Make a run, or a further piece of it. Returns whether it is done, or cannot go on."""
    from igpo_gym.agents.training.trainer import train

    if stop():
        return False
    began, own, before = time.process_time(), Meter(), Spent()

    def report_update(metrics: Metrics) -> None:
        nonlocal began, before
        now = replace(own.spent, seconds=0.0)
        report(metrics, now - before)
        seconds, validated = time.process_time() - began, "validation_f1" in metrics
        append_line(
            job.folder / CPU, {"update": metrics["update"], "seconds": seconds, "validated": validated}
        )
        before, began = now, time.process_time()

    try:
        train(*job, report_update, stop=stop, meter=own)
    except LearningError as problem:
        logger.warning("%s cannot go on, and counts with 0 from here: %s", job.folder, problem)
        return True
    return bool(read_log(job.folder / "log.jsonl")[-1]["update"] == job.settings.updates)


def _train_telling(job: Job, updates: Queue[Any], over: Event) -> bool:
    return _train(job, lambda metrics, spent: updates.put((job, metrics, spent)), over.is_set)


def cpu_seconds(folder: Path) -> tuple[float, float]:
    """What a run took so far, in seconds of a core: all of it, and an update without validation in the mean.

    Updates that were made twice, since the run was stopped, count twice; what an update had taken that was
    stopped does not. The mean is nan where each update was validated.
    """
    lines = read_log(folder / CPU)
    plain = [line["seconds"] for line in lines if line["update"] and not line["validated"]]
    return sum(line["seconds"] for line in lines), sum(plain) / len(plain) if plain else math.nan


CPU = "cpu.jsonl"
"""The file of a run's folder with the core seconds of each update, and whether it was validated."""


def _pass_on(updates: Queue[Any], report: OnUpdate, meter: Meter, over: Event) -> None:
    for job, metrics, spent in iter(updates.get, None):
        _count(job, metrics, spent, report, meter)
        if meter.over:
            over.set()


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Have torch use so many threads inside the block; None: as many as it does."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _use_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


def _settings(settings: Settings, variant: Variant, seed: int) -> Settings:
    paid = resolve_reward(variant.reward)
    return replace(
        settings,
        reward=variant.reward,
        advantages=variant.advantages,
        scorer=settings.scorer if "scorer" in paid.needs else "none",
        seed=seed,
    )


def _folder(out: Path, variant: Variant, settings: Settings) -> Path:
    """A run's folder, which no other has: "reward,advantages", with "_" for a space."""
    name = ",".join(quote(part, safe=" +").replace("_", "%5F").replace(" ", "_") for part in variant)
    return out / "runs" / name / f"seed-{settings.seed}"
