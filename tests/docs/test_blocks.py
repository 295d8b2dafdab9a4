"""What the documents show works: Python blocks run, page by page, and command lines are commands."""

from __future__ import annotations

import re
import shlex
import warnings
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from igpo_gym.cli import app
from tests.conftest import REPOSITORY
from tests.docs.pages import PAGES, Block, blocks, inputs

ALL = [block for page in PAGES for block in blocks(page)]
PYTHON = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]
COMMANDS = [(block, command) for block in ALL if block.language == "bash" for command in block.commands]


@pytest.mark.parametrize("page", PYTHON, ids=[str(page.relative_to(REPOSITORY)) for page in PYTHON])
def test_python_blocks_run_in_order(page: Path, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The comment behind a print is what it prints; "..." stands for anything."""
    inputs(workplace)
    names: dict[str, object] = {"__name__": "a_page"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for block in blocks(page):
            if block.language == "python" and not block.skip:
                block.run(names)
                printed = capsys.readouterr().out
                for shown in () if block.file else re.findall(r"print\(.*\)  # (.+)", block.code):
                    pattern = re.escape(shown).replace(r"\.\.\.", ".*")
                    assert re.search(pattern, printed, re.S), f"{block}: {shown!r} is not in {printed!r}"


@pytest.mark.parametrize(("block", "command"), COMMANDS, ids=[str(block) for block, _ in COMMANDS])
def test_commands_and_their_options_exist(block: Block, command: str) -> None:
    """The command line is parsed; nothing runs."""
    arguments = shlex.split(command)[1:]
    current = typer.main.get_command(app)
    parent = None
    try:
        while isinstance(current, TyperGroup):
            parent = typer.Context(current, info_name=current.name, parent=parent)
            _, current, arguments = current.resolve_command(parent, arguments)
        current.make_context(current.name, arguments, parent)
    except typer.Exit:
        pass  # --help
    except Exception as problem:
        pytest.fail(f"{block}: {command}: {getattr(problem, 'message', problem)}")


REASONS = (
    "needs a GPU",
    "needs a server",
    "needs a model hub",
    "needs the extra ",
    "takes minutes",
    "a signature",
)


def test_what_is_skipped_says_why() -> None:
    """The list of the blocks that nothing runs; a reason is one of a few, and shell blocks need none."""
    skipped = [block for block in ALL if block.skip]
    for block in skipped:
        assert block.language == "python", block
        assert block.skip.startswith(REASONS), f"{block}: {block.skip}"
    assert {block.language for block in ALL} <= {"python", "bash", "toml", "json", "text"}
