"""Test the adapters against the real libraries, in environments made for the purpose.

Libraries that install together share an environment; others get their own. An environment takes minutes and
gigabytes, and is removed afterwards unless ``--keep`` names a folder for it, where it is used again.

    python scripts/check_adapters.py                 # all of them
    python scripts/check_adapters.py verl --keep ~/venvs
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ENVIRONMENTS = {
    "llm": ("trl", "skyrl", "gem", "openenv", "aviary", "verifiers"),
    "verl": ("verl",),
    "gymnasium": ("sb3", "torchrl"),
    "rllib": ("rllib",),  # asks for an older Gymnasium
}
"""By name: the extras that are installed together."""

REPOSITORY = Path(__file__).parents[1]
SETTINGS = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}


def run(name: str, folder: Path) -> bool:
    """Make the environment in ``folder`` if there is none, and run the tests in it; whether all passed."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    extras = ",".join(ENVIRONMENTS[name])
    constraints = REPOSITORY / ".ci" / "constraints.txt"
    install = ["install", "--quiet", "--constraint", constraints, "--editable", f"{REPOSITORY}[{extras}]"]
    subprocess.run([python, "-m", "pip", *install, "pytest", "hypothesis"], check=True)
    tests = ["tests/adapters", "-m", "slow or not slow"]
    ran = subprocess.run([python, "-m", "pytest", *tests], cwd=REPOSITORY, env={**os.environ, **SETTINGS})
    return ran.returncode == 0


def main() -> int:
    """Run the environments that are asked for, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(ENVIRONMENTS)}; default: all"
    )
    parser.add_argument("--keep", type=Path, help="a folder where environments are kept")
    options = parser.parse_args()
    names = options.names or list(ENVIRONMENTS)
    if unknown := set(names) - set(ENVIRONMENTS):
        parser.error(f"unknown {', '.join(sorted(unknown))}; choose among {', '.join(ENVIRONMENTS)}")
    with tempfile.TemporaryDirectory() as scratch:
        passed = {name: run(name, (options.keep or Path(scratch)) / name) for name in names}
    print("\n".join(f"{name}: {'passed' if good else 'FAILED'}" for name, good in passed.items()))
    return int(not all(passed.values()))


if __name__ == "__main__":
    sys.exit(main())
