"""All benchmarks at a quick size: one JSON, and a page that compares it with the last committed one.

    python benchmarks/run.py                         # half an hour on a quiet machine
    python benchmarks/run.py startup env_steps       # these alone; the others stay as they are
    python benchmarks/run.py --resume                # those that have no figures of this commit yet

Writes ``benchmarks/results.json`` and ``benchmarks/results.md`` after every benchmark, so that a run which
is stopped goes on with ``--resume``. Each figure stands beside the same one of
the ``results.json`` that git has at HEAD, as a ratio: 1.00 is no change. Figures that are ratios themselves,
to a baseline in the same run, can be compared between machines; times only on one. Run it where nothing else
does.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results.json", ROOT / "benchmarks" / "results.md"
SETTINGS = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
SECONDS = 1800
"""How long one benchmark may take."""

QUICK = {
    "startup": "startup.py --repeats 3",
    "env_steps": "env_steps.py --passages 2000 --repeats 3",
    "peers": "peers.py --repeats 3 --steps 1024",
    "asynchronous": "asynchronous.py --count 32 --repeats 2 --canceled 100",
    "scoring": "scoring.py --quick",
    "scorer_memory": "scorer_memory.py --cache-mb 16 --episodes 4",
    "belief_load": "belief_load.py --seconds 8 --clients 16",
    "beliefs": "beliefs.py --model nano --clients 1,4",
    "search": "search.py --sizes 20000 --queries 50",
    "search_server": "search_server.py --passages 5000 --seconds 2",
    "training_sampling": "training.py sampling --batch 16 --repeats 2",
    "training_scoring": "training.py scoring --batch 16 --repeats 2",
    "training_update": "training.py update --batch 16 --repeats 2",
    "nano": "-m benchmarks.nano --questions 60 --parts expert,gain,time",
    "discrete": "discrete.py --algorithms maskable --seeds 2 --steps 2048 --episodes 64",
    "trl_step": "trl_step.py --batch 8 --steps 2",
}
"""The arguments of each benchmark. Four are none of them: ``retrieval.py`` needs an encoder and files,
``training_parts.py`` another checkout, and ``hacking.py`` and ``vine.py`` measure no speed."""

NEEDS = {
    "trl_step": "trl",
    "discrete": "sb3_contrib",
    "search_server": "fastapi",
    "belief_load": "fastapi",
    "beliefs": "fastapi",
}
"""A library without which a benchmark is left out."""


def command(arguments: str) -> list[str]:
    """The command line of a benchmark.

    >>> command("-m benchmarks.nano --parts time")[1:]
    ['-m', 'benchmarks.nano', '--parts', 'time']
    """
    first, *rest = arguments.split()
    script = [first] if first == "-m" else [str(ROOT / "benchmarks" / first)]
    return [sys.executable, *script, *rest]


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """The figures that a benchmark prints, or why there are none."""
    began, used = time.monotonic(), cpu_seconds()
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, **SETTINGS, "PYTHONPATH": path}
    try:
        done = subprocess.run(
            arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"more than {SECONDS} seconds"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]}
    return {
        "figures": dict(figures(list(objects(done.stdout)))),
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(cpu_seconds() - used, 1),
    }


def cpu_seconds() -> float:
    """What all processes that this one waited for have used."""
    used = os.times()
    return used.children_user + used.children_system


def objects(text: str) -> Iterator[Any]:
    """The JSON objects in what a benchmark prints; other lines are skipped.

    >>> list(objects('one\\n{"a": 1}\\n{\\n "b": [2]\\n}\\n'))
    [{'a': 1}, {'b': [2]}]
    """
    decoder, place = json.JSONDecoder(), 0
    while (place := text.find("{", place)) >= 0:
        try:
            found, place = decoder.raw_decode(text, place)
        except ValueError:
            place += 1
        else:
            yield found


def figures(found: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in an object, each under the way to it; texts in a list's entries name the entry.

    >>> dict(figures([{"benchmark": "b", "ratio": 1.5, "by": [{"k": "x", "ms": 2}, {"k": "y", "ms": 3}]}]))
    {'b/ratio': 1.5, 'b/by/x/ms': 2.0, 'b/by/y/ms': 3.0}
    """
    if isinstance(found, Mapping):
        for key, value in found.items():
            if not isinstance(value, str):
                yield from figures(value, f"{name}/{key}".lstrip("/"))
    elif isinstance(found, list):
        for number, value in enumerate(found):
            texts = (
                [each for each in value.values() if isinstance(each, str)]
                if isinstance(value, Mapping)
                else []
            )
            part = ",".join(texts) or ("" if len(found) == 1 else str(number))
            yield from figures(value, f"{name}/{part}".strip("/"))
    elif isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found):
        yield name, float(found)


def machine() -> dict[str, str]:
    """Where it was measured."""
    cores = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    versions = {name: metadata.version(name) for name in ("torch", "transformers", "numpy", "gymnasium")}
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    day = datetime.date.today().isoformat()
    return {"date": day, "commit": commit, "machine": cores, "python": platform.python_version(), **versions}


def committed() -> dict[str, Any]:
    """The results that git has at HEAD; empty where it has none."""
    path = RESULTS.relative_to(ROOT).as_posix()
    shown = subprocess.run(["git", "show", f"HEAD:{path}"], cwd=ROOT, capture_output=True, text=True)
    return dict(json.loads(shown.stdout)) if shown.returncode == 0 else {}


def is_ratio(name: str) -> bool:
    """Whether a figure has no unit, by its name.

    >>> is_ratio("startup/ratio"), is_ratio("search/ms"), is_ratio("peak_over_budget")
    (True, False, True)
    """
    last = name.rpartition("/")[2]
    return any(word in last for word in ("ratio", "over", "share", "recall", "auc"))


def page(now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """The comparison, in Markdown."""
    lines = ["# Benchmarks, at a quick size", "", "Made by `python benchmarks/run.py`."]
    for title, results in (("now", now), ("before", before)):
        about = ", ".join(f"{key} {value}" for key, value in results.get("made", {}).items())
        lines.append(f"- {title}: {about or 'nothing is committed yet'}")
    for name, result in now["benchmarks"].items():
        lines += ["", f"## {name}", ""]
        if "figures" not in result:
            lines.append(next(f"{why}: {text}" for why, text in result.items()))
            continue
        old = before.get("benchmarks", {}).get(name, {}).get("figures", {})
        lines += ["| figure | now | before | now / before |", "|---|---|---|---|"]
        for key, value in sorted(result["figures"].items(), key=lambda pair: not is_ratio(pair[0])):
            was = old.get(key)
            change = f"{value / was:.2f}" if was else ""
            shown = f"**{key}**" if is_ratio(key) else key
            lines.append(f"| {shown} | {value:.4g} | {'' if was is None else f'{was:.4g}'} | {change} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run what is asked for; 1 where one fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(QUICK)}; all by default")
    parser.add_argument("--resume", action="store_true", help="leave out what has figures of this commit")
    options = parser.parse_args()
    names = options.names or list(QUICK)
    if unknown := set(names) - set(QUICK):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(QUICK)}")
    before, made = committed(), machine()
    found = json.loads(RESULTS.read_text("utf-8"))["benchmarks"] if RESULTS.exists() else {}
    for name in names:
        if options.resume and "figures" in (had := found.get(name, {})) and had["commit"] == made["commit"]:
            continue
        print(name, file=sys.stderr, flush=True)
        if name in NEEDS and find_spec(NEEDS[name]) is None:
            found[name] = {"left out": f"{NEEDS[name]} is not installed"}
        else:
            found[name] = {**measure(command(QUICK[name])), "commit": made["commit"]}
        now = {"made": made, "benchmarks": {name: found[name] for name in QUICK if name in found}}
        RESULTS.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
        PAGE.write_text(page(now, before), encoding="utf-8")
    print(PAGE.relative_to(ROOT))
    return int(any("failed" in found[name] for name in names))


if __name__ == "__main__":
    sys.exit(main())
