"""The first ``gym.make`` of a process, beside the two imports that it cannot do without; and commands.

    python benchmarks/startup.py

Each figure is the CPU time of a process of its own, from its start: one that imports torch and transformers
and transformers' model class, one that makes ``SearchQA-IGPO-v0``, resets it and makes a step, and one for
each of some commands that need no model. They take turns. Prints one JSON object with the medians in
seconds, and the ratio of the first two.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from statistics import median

COUNTED = "import resource; print(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))"
PROCESSES = {
    "imports": f"import torch, transformers; transformers.LlamaForCausalLM; {COUNTED}",
    "first_step": "import gymnasium as gym, igpo_gym; env = gym.make('SearchQA-IGPO-v0'); env.reset(seed=0); "
    f"env.step('<search>Salman</search>'); {COUNTED}",
}
COMMANDS = (
    "--version",
    "--help",
    "rewards",
    "data list",
    "data show world:test",
    "view --help",
    "train --help",
)
PROCESSES |= {
    command: "import contextlib, io\nfrom igpo_gym.cli import app\n"
    f"with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
    f"    app({command.split()!r})\n{COUNTED}"
    for command in COMMANDS
}


def seconds(code: str) -> float:
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}  # compiled once, as where it is installed
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="processes of each kind (5)")
    repeats = parser.parse_args().repeats
    taken: dict[str, list[float]] = {name: [] for name in PROCESSES}
    for _ in range(repeats + 1):
        for name, code in PROCESSES.items():
            taken[name].append(seconds(code))
    # The first of each reads from a cold disk.
    medians = {f"{name}_seconds": median(values[1:]) for name, values in taken.items()}
    ratio = medians["first_step_seconds"] / medians["imports_seconds"]
    print(json.dumps({"benchmark": "startup", **medians, "ratio": ratio}, indent=2))


if __name__ == "__main__":
    main()
