"""Test the adapters against the real libraries, in environments made for the purpose.

Libraries that install together share an environment; others get their own. An environment takes minutes and
gigabytes, and is removed afterwards unless ``--keep`` names a folder for it, where it is used again. An
environment fails where tests fail, and where tests of a library that it is for were skipped.

    python scripts/check_adapters.py                 # all of them
    python scripts/check_adapters.py verl --keep ~/venvs
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

ENVIRONMENTS = {
    "llm": ("trl", "skyrl", "gem", "openenv", "aviary", "verifiers"),
    "verl": ("verl",),
    "tinker": ("tinker",),
    "atropos": ("atropos",),
    "swift": ("swift",),  # asks for older versions of TRL and transformers
    "nemo": ("nemo",),  # asks for Python 3.12
    "gymnasium": ("sb3", "torchrl"),
    "rllib": ("rllib",),  # asks for an older Gymnasium
}
"""By name: the extras that are installed together."""

PYTHONS = {"nemo": ("python3.13", "python3.12")}
"""By environment: the commands of which the first that there is makes it, and not this Python."""

ALONE = ("swift", "nemo", "tinker", "atropos")
"""Environments in which only their own tests run: other libraries may be there in old versions."""

TESTS = {"sb3": "test_stable_baselines3", "torchrl": "torchrl", "rllib": "rllib"}
"""By extra: what the names of its own tests contain, where that is not ``test_EXTRA``."""

REPOSITORY = Path(__file__).parents[1]
SETTINGS = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}


def run(name: str, folder: Path) -> bool:
    """Make the environment in ``folder`` if there is none, and run the tests in it; whether all passed."""
    python = folder / "bin" / "python"
    if not python.exists():
        found = [maker for maker in map(shutil.which, PYTHONS.get(name, (sys.executable,))) if maker]
        if not found:
            print(f"{name} needs one of {', '.join(PYTHONS[name])}")
            return False
        subprocess.run([found[0], "-m", "venv", folder], check=True)
    extras = ",".join(ENVIRONMENTS[name])
    constraints = REPOSITORY / ".ci" / "constraints.txt"
    install = ["install", "--quiet", "--constraint", constraints, "--editable", f"{REPOSITORY}[{extras}]"]
    subprocess.run([python, "-m", "pip", *install, "pytest", "hypothesis"], check=True)
    report = folder / "report.xml"
    tests = ["tests/adapters", "-m", "slow or not slow", f"--junitxml={report}"]
    tests += ["-k", name] * (name in ALONE)
    ran = subprocess.run([python, "-m", "pytest", *tests], cwd=REPOSITORY, env={**os.environ, **SETTINGS})
    skipped = [test for extra in ENVIRONMENTS[name] for test in skipped_of(extra, report)]
    for test in skipped:
        print(f"skipped, though it is what this environment is for: {test}")
    return ran.returncode == 0 and not skipped


def skipped_of(extra: str, report: Path) -> list[str]:
    """The tests of a library itself that were skipped."""
    own = TESTS.get(extra, f"test_{extra}")
    cases = ElementTree.parse(report).iter("testcase")
    names = [
        f"{case.get('classname')}.{case.get('name')}" for case in cases if case.find("skipped") is not None
    ]
    return [name for name in names if own in name]


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
