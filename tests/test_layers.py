"""Data flows one way: no module imports from a room above its own, not even for types."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import igpo_gym

PACKAGE = Path(igpo_gym.__file__).parent

ROOMS = (
    *("values", "episode", "text", "words", "numbers", "errors", "libraries", "hub", "storage", "statistics"),
    *("terminal", "progress", "batching", "connections", "transport", "serving"),
    *("specs", "parameters", "config"),
    *("data", "search", "tools", "protocols", "lm", "scorers", "rewards", "envs", "agents", "adapters"),
    *("benchmark", "viewer", "play", "models", "cli"),
)
"""From the ground up. Names that :mod:`igpo_gym.specs` imports lazily are texts, and no imports."""

AGENTS = ("policies", "rollouts", "training", "exports")
"""The same within ``agents``."""

SHARED = {"session", "tokens", "candidates"}
"""What adapters have in common; else each stands alone."""

WITHOUT_TORCH = (
    *("values", "episode", "text", "numbers", "errors", "hub", "storage", "statistics", "batching"),
    *("terminal", "progress", "connections", "transport", "specs", "parameters", "config"),
    *("data", "search", "tools", "protocols", "lm.policy", "scorers", "scorers.interface"),
    *("rewards", "rewards.instruments", "rewards.judge", "rewards.verdicts", "rewards.relabel"),
    *("envs", "envs.engine", "envs.setup", "envs.completions", "envs.single", "envs.vector", "envs.discrete"),
    *("agents.policies", "agents.policies.scripted", "agents.training.estimators"),
    *(
        "agents.rollouts.collect",
        "agents.rollouts.records",
        "agents.rollouts.summary",
        "agents.rollouts.tokens",
        "agents.rollouts.transcripts",
        "agents.exports",
    ),
    *("viewer", "viewer.page", "play", "play.episodes", "search.server", "agents.training.readiness"),
    *(
        "cli",
        "cli.data",
        "cli.doctor",
        "cli.prepare",
        "cli.rollout",
        "cli.serve",
        "cli.transcripts",
        "cli.view",
    ),
)
"""What can be imported where neither torch nor transformers is."""


def modules() -> list[str]:
    return sorted(
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        for path in PACKAGE.rglob("*.py")
        if path != PACKAGE / "__init__.py"
    )


def imports(source: str, package: str = "igpo_gym") -> Iterator[str]:
    """The modules of this package that a source imports anywhere, without the package's name."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not followed here"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name.removeprefix(f"{package}.") for name in names if name.startswith(f"{package}."))


def source(module: str) -> str:
    path = PACKAGE.joinpath(*module.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")


def above(module: str, imported: str) -> bool:
    """Whether ``imported`` is in a room above that of ``module``."""
    own, other = module.split("."), imported.split(".")
    if other[0] == "__version__":
        return False
    if ROOMS.index(other[0]) != ROOMS.index(own[0]):
        return ROOMS.index(other[0]) > ROOMS.index(own[0])
    if own[0] == "agents" and len(own) > 1 and other[1] in AGENTS:
        return AGENTS.index(other[1]) > AGENTS.index(own[1])
    if own[0] == "adapters" and len(own) > 1:
        return other[1] not in {own[1], *SHARED}
    return False


@pytest.mark.parametrize("module", modules())
def test_no_module_imports_from_a_room_above_its_own(module: str) -> None:
    assert module.split(".")[0] in ROOMS
    assert [imported for imported in imports(source(module)) if above(module, imported)] == []


def test_what_an_import_from_above_looks_like() -> None:
    code = """
if TYPE_CHECKING:
    from igpo_gym.envs.engine import Engine
def late():
    import igpo_gym.agents.rollouts.collect
    from igpo_gym import cli, errors
"""
    found = sorted(imports(code))
    assert found == ["agents.rollouts.collect", "cli", "envs.engine.Engine", "errors"]
    assert [above("rewards.split", each) for each in found] == [True, True, True, False]
    assert above("agents.policies.scripted", "agents.rollouts.collect")
    assert not above("agents.training.trainer", "agents.policies.language_model")
    assert above("adapters.trl", "adapters.verl.x")
    assert not above("adapters.trl", "adapters.session.Session")


def test_the_package_needs_nothing_from_outside_the_wheel() -> None:
    outside = {"nano", "tests", "benchmarks", "examples", "scripts"}
    for module in modules():
        for node in ast.walk(ast.parse(source(module))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not outside.intersection(name.split(".")[0] for name in names), module


BLOCKED = """
import importlib, importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers"):
            raise ModuleNotFoundError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
"""


def without_torch(code: str) -> None:
    command = [sys.executable, "-c", BLOCKED + code]
    done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_needs_no_torch_imports_without_it() -> None:
    without_torch(f"for name in {WITHOUT_TORCH!r}: importlib.import_module(f'igpo_gym.{{name}}')")


def test_an_environment_without_a_scorer_plays_without_torch() -> None:
    without_torch("""
import gymnasium as gym, igpo_gym
env = gym.make("SearchQA-Outcome-v0", questions="world:test#documents=60,questions=3")
env.reset(seed=0)
assert env.step("<answer>x</answer>")[2]
""")


def test_commands_that_need_no_model_run_without_torch(tmp_path: Path) -> None:
    without_torch(f"""
import os
from igpo_gym.cli import app
os.chdir({str(tmp_path)!r})
world = "world:test#documents=60,questions=3"
for command in (
    ["data", "show", world],
    ["rollout", "--agent", "expert", "--questions", world, "--scorer", "none", "--reward", "outcome-f1",
     "--out", "o.jsonl"],
    ["show", "o.jsonl"],
    ["view", "o.jsonl", "--out", "page.html"],
):
    try:
        app(command)
    except SystemExit as ended:
        assert not ended.code, command
""")
    assert (tmp_path / "page.html").exists()


def test_the_block_blocks() -> None:
    with pytest.raises(AssertionError, match="torch is blocked"):
        without_torch("import igpo_gym.lm.reader")
