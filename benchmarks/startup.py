"""How long the first ``gym.make`` of a process takes, beside the two imports that it cannot do without.

    python benchmarks/startup.py

Each figure is the CPU time of a process of its own, from its start: one that imports torch and transformers
and transformers' model class, and one that makes ``SearchQA-IGPO-v0``, resets it and makes a step. They take
turns. Prints one JSON object with the medians in seconds and their ratio.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from statistics import median

COUNTED = "import resource; print(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))"
PROCESSES = {
    "imports": f"import torch, transformers; transformers.LlamaForCausalLM; {COUNTED}",
    "first_step": "import gymnasium as gym, igpo_gym; env = gym.make('SearchQA-IGPO-v0'); env.reset(seed=0); "
    f"env.step('<search>Salman</search>'); {COUNTED}",
}


def seconds(code: str) -> float:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
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
