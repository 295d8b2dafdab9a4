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
from igpo_gym.errors import MissingExtraError
from tests.conftest import REPOSITORY
from tests.docs.pages import PAGES, Block, blocks, inputs

ALL = [block for page in PAGES for block in blocks(page)]
RUNNABLE = [block for block in ALL if block.language in {"python", "bash"} and not block.skip]
COMMANDS = [(block, command) for block in ALL if block.language == "bash" for command in block.commands]


def run_page(page: Path, slow: bool, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run the blocks of a page in order, with the slow ones or without."""
    inputs(workplace)
    names: dict[str, object] = {"__name__": "a_page"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for block in RUNNABLE:
            if block.page == page and (slow or not block.slow):
                try:
                    block.run(names)
                except MissingExtraError as missing:
                    pytest.skip(f"{block} and what follows: {missing}")
                printed = capsys.readouterr().out
                for shown in () if block.file else re.findall(r"print\(.*\)  # (.+)", block.code):
                    pattern = re.escape(shown).replace(r"\.\.\.", ".*")
                    assert re.search(pattern, printed, re.S), f"{block}: {shown!r} is not in {printed!r}"


def pages(found: list[Block]) -> list[Path]:
    """The pages of blocks, each once."""
    return list(dict.fromkeys(block.page for block in found))


def title(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", pages([block for block in RUNNABLE if not block.slow]), ids=title)
def test_blocks_run_in_order(page: Path, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The comment behind a print is what it prints; "..." stands for anything."""
    run_page(page, False, workplace, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("page", pages([block for block in RUNNABLE if block.slow]), ids=title)
def test_slow_blocks_run_too(page: Path, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_page(page, True, workplace, capsys)


def test_shell_blocks_that_run_hold_our_commands_alone() -> None:
    """So nothing is left out in silence: what else a block calls makes it one that says why it is not run."""
    for block in RUNNABLE:
        assert block.language == "python" or block.commands == block.lines, block


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
    "needs files of ",
    "takes minutes",
    "takes hours",
    "opens a browser",
    "a person plays",
    "installs",
    "a signature",
)


def test_what_is_skipped_says_why() -> None:
    """The list of the blocks that nothing runs; a reason is one of a few."""
    skipped = [block for block in ALL if block.skip]
    for block in skipped:
        assert block.language in {"python", "bash"}, block
        assert block.skip.startswith(REASONS), f"{block}: {block.skip}"
    assert {block.language for block in ALL} <= {"python", "bash", "toml", "json", "text", "javascript"}
