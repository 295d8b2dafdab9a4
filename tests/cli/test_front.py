"""What a user meets first: no arguments, the version, lists of commands, completion."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from importlib import import_module

import pytest
from typer.testing import CliRunner

import igpo_gym
from igpo_gym.cli import COMMANDS, FIRST, GROUPS, app
from igpo_gym.cli.lazy import Command

runner = CliRunner()
EVERY = {
    **{(name,): command for name, command in COMMANDS.items()},
    **{
        (group, name): command
        for group, (_, commands) in GROUPS.items()
        for name, command in commands.items()
    },
}


@pytest.mark.parametrize(("name", "command"), EVERY.items(), ids=map(" ".join, EVERY))
def test_a_list_says_of_a_command_what_the_command_says_of_itself(
    name: tuple[str, ...], command: Command
) -> None:
    module, _, attribute = command.place.partition(":")
    first, _, _ = inspect.getdoc(getattr(import_module(module), attribute)).partition("\n\n")
    assert command.help == " ".join(first.split())
    shown = runner.invoke(app, [*name, "--help"], terminal_width=200)
    assert shown.exit_code == 0
    assert f"igpo-gym {' '.join(name)} [OPTIONS]" in shown.output.replace("root", "igpo-gym")


def test_without_arguments_it_shows_three_things_that_are_commands() -> None:
    shown = runner.invoke(app, [])
    assert shown.exit_code == 0
    assert shown.output == f"{FIRST}\n"
    tried = [line.split()[1] for line in FIRST.splitlines() if line.startswith("  igpo-gym ")]
    assert tried == ["play", "rollout", "train"]
    assert set(tried) <= set(COMMANDS)


def test_the_version_is_that_of_the_package() -> None:
    assert runner.invoke(app, ["--version"]).output == f"igpo-gym {igpo_gym.__version__}\n"


def test_a_wrong_name_is_told_with_the_nearest() -> None:
    told = runner.invoke(app, ["rollouts"])
    assert told.exit_code == 2
    assert "Did you mean 'rollout'?" in told.output


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("igpo-gym vi", "view"), ("igpo-gym data pre", "prepare"), ("igpo-gym eval --ag", "--agent")],
)
def test_a_shell_completes_names_and_options(typed: str, offered: str) -> None:
    environment = {
        **os.environ,
        "_IGPO_GYM_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split()) - 1),
    }
    code = "from igpo_gym.cli import app; app(prog_name='igpo-gym')"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert offered in done.stdout.split()


def test_a_list_of_commands_imports_none_of_them() -> None:
    code = (
        "import sys, json\nfrom igpo_gym.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(json.dumps([name for name in sys.modules if name.startswith('igpo_gym.')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert loaded == {"igpo_gym.cli", "igpo_gym.cli.lazy"}
