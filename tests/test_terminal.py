"""What is printed of a file, in any form, does not drive the terminal."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

import igpo_gym
from igpo_gym.cli import app
from igpo_gym.envs.engine import Engine
from igpo_gym.terminal import Terminal
from tests.conftest import play
from tests.viewer.pages import RIGHT, SEARCH, write

EVIL = "a\x1b[2J\x9b2J\x1b]0;t\x07\u202eb"


def table() -> Table:
    made = Table(EVIL, title=EVIL, caption=EVIL)
    made.add_row(EVIL)
    made.add_row(Panel(EVIL, title=EVIL, subtitle=EVIL))
    return made


@pytest.mark.parametrize(
    "printed", [EVIL, Text(EVIL), Rule(EVIL), table()], ids=["str", "text", "rule", "table"]
)
@pytest.mark.parametrize("colored", [True, False])
def test_controls_are_shown_as_what_they_are(printed: RenderableType, colored: bool) -> None:
    written = io.StringIO()
    terminal = Terminal(
        file=written, width=80, force_terminal=colored, color_system="standard" if colored else None
    )
    terminal.print(printed)
    shown = written.getvalue()
    for control in ("\x1b[2J", "\x1b]", "\x07", "\x9b", "\u202e"):
        assert control not in shown
    assert "a�[2J�2J�]0;t" in re.sub(r"\x1b\[[0-9;]*m", "", shown)


def test_colors_stay() -> None:
    written = io.StringIO()
    terminal = Terminal(file=written, force_terminal=True, color_system="standard")
    terminal.print(Text.assemble(("a\x1bb", "red"), "c"))
    assert written.getvalue() == "\x1b[31ma�b\x1b[0mc\n"


def test_nothing_prints_by_itself() -> None:
    package = Path(igpo_gym.__file__).parent
    imports = re.compile(r"from rich\.console import [^\n]*\bConsole\b|rich\.console\.Console|rich\.print")
    makers = [file.name for file in package.rglob("*.py") if imports.search(file.read_text("utf-8"))]
    assert makers == ["terminal.py"]


def test_names_in_a_record_do_not_drive_the_terminal(tmp_path: Path, engine: Engine) -> None:
    episode = play(engine, 1, SEARCH, RIGHT)
    episode.rewards[:] = [{EVIL: 1.0}, {EVIL: 0.0}]
    episode.extra["imported"] = {"layout": EVIL, "place": EVIL}
    recording = write(tmp_path / "a.jsonl", [episode], None, **{EVIL: EVIL})
    other = write(tmp_path / "b.jsonl", [episode], None)
    for command in (
        ["show", str(recording)],
        ["import", str(recording), "--out", str(tmp_path / "c.jsonl")],
        ["compare", str(recording), str(other)],
    ):
        told = CliRunner().invoke(app, command)
        assert told.exit_code == 0, told.output
        assert "�[2J" in told.output
        assert "\x1b[2J" not in told.output
