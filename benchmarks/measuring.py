"""What several benchmarks measure with: texts, servers in processes of their own, and clocks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt


def zipf_texts(
    rng: np.random.Generator, vocabulary: int, size: int, texts: int, first: int = 0
) -> Iterator[str]:
    """So many texts of ``size`` words, drawn from a Zipf law without the ``first`` most frequent words."""
    cumulative, words = _cumulative(vocabulary), _words(vocabulary)
    low = cumulative[first - 1] if first else 0.0
    for start in range(0, texts, 1000):
        shape = (min(1000, texts - start), size)
        for row in np.searchsorted(cumulative, rng.uniform(low, cumulative[-1], shape)).tolist():
            yield " ".join(map(words.__getitem__, row))


@cache
def _cumulative(vocabulary: int) -> npt.NDArray[np.float64]:
    """The law, not normalized: how much weight the words up to each one have."""
    return np.cumsum(1 / np.arange(1, vocabulary + 1))


@cache
def _words(vocabulary: int) -> list[str]:
    return [f"w{number}" for number in range(vocabulary)]


@contextmanager
def served(*arguments: str) -> Iterator[tuple[str, int]]:
    """The URL and the process id of ``igpo-gym serve`` with these arguments, at a free port."""
    code = "from igpo_gym.cli import app; app()"
    command = [sys.executable, "-c", code, "serve", *arguments, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        match = re.search(r"at (http://[\d.:]+)", process.stdout.readline())
        assert match, "the server did not start"
        try:
            yield match[1], process.pid
        finally:
            process.terminate()
            process.wait()
    assert process.returncode == 0, process.returncode


def cpu_seconds(root: int) -> float:
    """The CPU time that a process and its descendants have used; nan where the system does not tell."""
    parents, used = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        parents[int(stat.parent.name)] = int(fields[1])
        used[int(stat.parent.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def below(pid: int) -> bool:
        return pid == root or (pid in parents and below(parents[pid]))

    return sum(seconds for pid, seconds in used.items() if below(pid)) if root in used else float("nan")


def now() -> float:
    """A clock: CPU seconds where torch computes with one thread, wall-clock seconds on more."""
    import torch

    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def seconds(work: Callable[[], object]) -> float:
    """How long work takes, by :func:`now`."""
    began = now()
    work()
    return now() - began
