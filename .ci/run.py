"""What must pass before a change lands: a fresh environment as the README says, then all checks.

    .ci/run                 # everything, in less than 30 minutes on two cores
    .ci/run lint types      # some parts, after the environment that they run in
    .ci/run --keep DIR ...  # the environment stays in DIR, and is used again as it is

A part that fails keeps no other from running. The last lines say how each went and how long it took.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
CONSTRAINTS = ("--constraint", str(REPOSITORY / ".ci" / "constraints.txt"))
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "PYTHONDONTWRITEBYTECODE": "",  # or every process that a test starts would compile the package anew
}
# One seed, so that the same commit gives the same result; .ci/integration campaign draws its own.
CAMPAIGN = {"IGPO_GYM_CAMPAIGN_SECONDS": "20", "IGPO_GYM_CAMPAIGN_SEED": "1"}
SCHEMAS = {
    "github-workflows": ".github/workflows/*.yml",
    "github-issue-forms": ".github/ISSUE_TEMPLATE/[!c]*.yml",
    "github-issue-config": ".github/ISSUE_TEMPLATE/config.yml",
    "citation-file-format": "CITATION.cff",
}
BIN = "Scripts" if os.name == "nt" else "bin"


@dataclass(frozen=True)
class Step:
    """A command; its first word is a program of the environment's."""

    command: tuple[str, ...]
    folder: Path = REPOSITORY
    settings: tuple[tuple[str, str], ...] = ()


def step(text: str, **settings: str) -> Step:
    """A command in the repository, by words."""
    return Step(tuple(text.split()), settings=tuple(settings.items()))


@dataclass(frozen=True)
class Place:
    """Where a run works: the environment of all parts, and a folder for what they make."""

    environment: Path
    scratch: Path


def install(place: Place) -> Iterator[Step]:
    """What the README says, in an environment made from nothing."""
    if (place.environment / "complete").exists():
        return
    yield Step((sys.executable, "-m", "venv", "--clear", str(place.environment)))
    yield Step(("pip", "install", "--quiet", *CONSTRAINTS, "--editable", ".[dev,docs]"))
    (place.environment / "complete").touch()


def lint(place: Place) -> Iterator[Step]:
    """Form, mistakes that can be seen, spelling, and what GitHub reads against its schemas."""
    yield step("ruff format --check .")
    yield step("ruff check .")
    yield step("codespell")
    for schema, pattern in SCHEMAS.items():
        files = sorted(str(file.relative_to(REPOSITORY)) for file in REPOSITORY.glob(pattern))
        yield Step(("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files))


def site(place: Place) -> Iterator[Step]:
    """The documentation, where a warning is an error and every link leads somewhere."""
    yield Step(("mkdocs", "build", "--strict", "--quiet", "--site-dir", str(place.scratch / "site")))


def wheel(place: Place) -> Iterator[Step]:
    """The built wheel alone, without extras, in a second environment, runs the README's first program."""
    second, elsewhere = place.scratch / "second", place.scratch / "elsewhere"
    elsewhere.mkdir()
    yield Step(("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(place.scratch), "."))
    (built,) = place.scratch.glob("igpo_gym-*.whl")
    python, command = (str(second / BIN / name) for name in ("python", "igpo-gym"))
    yield Step((sys.executable, "-m", "venv", str(second)))
    yield Step((python, "-m", "pip", "install", "--quiet", *CONSTRAINTS, str(built)))
    for arguments in (
        "--version",
        "doctor",
        "rollout --agent expert --limit 5 --out e.jsonl",
        "show e.jsonl",
    ):
        yield Step((command, *arguments.split()), elsewhere)
    (elsewhere / "first.py").write_text(first_program(), encoding="utf-8")
    yield Step((python, "first.py"), elsewhere)


def first_program() -> str:
    """The first block of Python in the README."""
    found = re.search(
        r"^```python\n(.*?)^```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.M | re.S
    )
    if not found:
        raise SystemExit("the README shows no Python")
    return found[1]


def steps(*made: Step) -> Callable[[Place], Iterator[Step]]:
    """A part that is a list."""
    return lambda place: iter(made)


PARTS: dict[str, Callable[[Place], Iterator[Step]]] = {
    "environment": install,
    "lint": lint,
    "types": steps(step("mypy")),
    # With all docstrings, and the blocks of all pages.
    "tests": steps(step("python -m pytest -n 2 --dist worksteal")),
    # With the notebooks.
    "slow": steps(step("python -m pytest -m slow -n 2 --dist worksteal")),
    "campaign": steps(
        step(
            "python -m pytest -m campaign tests/campaign/test_messages.py tests/campaign/test_files.py "
            "tests/campaign/test_injections.py",
            **CAMPAIGN,
        )
    ),
    "docs": site,
    "wheel": wheel,
}
"""In the order in which they run."""


def passes(part: str, place: Place) -> bool:
    """Run a part's steps until one fails."""
    for each in PARTS[part](place):
        program, *arguments = each.command
        own = place.environment / BIN / program
        command = [str(own) if own.exists() else program, *arguments]
        print(f"+ {' '.join(each.command)}", flush=True)
        settings = {**os.environ, **SETTINGS, **dict(each.settings)}
        try:
            if subprocess.run(command, cwd=each.folder, env=settings).returncode:
                return False
        except FileNotFoundError:
            print(f"there is no {program} in the environment")
            return False
    return True


def main() -> int:
    """Run the parts that are asked for; 1 where one fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the environment is kept")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    chosen = [
        "environment",
        *(part for part in PARTS if part in (options.parts or PARTS) and part != "environment"),
    ]
    went: dict[str, tuple[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="igpo-ci-") as folder:
        scratch = Path(folder)
        place = Place((options.keep or scratch / "environment").absolute(), scratch)
        try:
            for part in chosen:
                print(f"\n== {part}", flush=True)
                began = time.monotonic()
                went[part] = ("interrupted", 0.0)
                good = passes(part, place)
                went[part] = ("passed" if good else "FAILED", time.monotonic() - began)
                if part == "environment" and not good:
                    break
        finally:
            print(f"\n{'part':12} {'result':12} minutes")
            for part in chosen:
                result, seconds = went.get(part, ("not run", 0.0))
                print(f"{part:12} {result:12} {seconds / 60:5.1f}")
            print(f"{'all':25} {sum(seconds for _, seconds in went.values()) / 60:5.1f}", flush=True)
    return int(any(result != "passed" for result, _ in went.values()) or len(went) < len(chosen))


if __name__ == "__main__":
    sys.exit(main())
