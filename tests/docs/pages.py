"""The code blocks of the documents, and a folder of small real inputs that they run in."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from igpo_gym.agents.policies.scripted import ScriptedAgent
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.rollouts.records import RolloutFile
from igpo_gym.cli import app
from igpo_gym.config import EnvConfig
from igpo_gym.envs.setup import assemble
from tests.conftest import REPOSITORY

OUTSIDE = ("README.md", "SECURITY.md", "examples/verl/README.md", "igpo_gym/models/nano/README.md")
PAGES = (*(REPOSITORY / page for page in OUTSIDE), *sorted((REPOSITORY / "docs").rglob("*.md")))

_BLOCK = re.compile(
    r"(?:^<!-- (?:skip: (?P<skip>[^\n]+)|(?P<slow>slow)) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.M | re.S,
)
_SAVED = re.compile(r"[Ss]ave this as\s+`(mine/\w+\.py)`:\s*\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    language: str
    code: str
    line: int
    skip: str
    """Why it is not run; empty where it is."""
    slow: bool
    """Whether only the slow tests run it."""
    file: str
    """Where the page says to save it; empty for code to run."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"

    def run(self, names: dict[str, object]) -> None:
        """Execute it, or save it as the page says."""
        if self.language == "bash":
            for command in self.commands:
                result = CliRunner().invoke(app, shlex.split(command)[1:], catch_exceptions=False)
                assert result.exit_code == 0, f"{self}: {command}: {result.output}"
            return
        if self.file:
            Path(self.file).parent.mkdir(exist_ok=True)
            Path(self.file).write_text(self.code, encoding="utf-8")
            return
        # Tracebacks show the line of the page.
        exec(compile("\n" * self.line + self.code, str(self.page), "exec"), names)

    @property
    def lines(self) -> list[str]:
        """What a shell block runs, without comments; continued lines are joined."""
        lines = self.code.replace("\\\n", " ").splitlines()
        parts = [re.split(r"(?:^|\s)#\s", line)[0].split("&&") for line in lines]
        return [part.strip() for line in parts for part in line if part.strip()]

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block that call igpo-gym."""
        return [line for line in self.lines if line.startswith("igpo-gym ")]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        saved = _SAVED.search(text, 0, match.start())
        line = text.count("\n", 0, match.start("code"))
        found.append(
            Block(
                page,
                match["language"],
                match["code"],
                line,
                match["skip"] or "",
                bool(match["slow"]),
                saved[1] if saved else "",
            )
        )
    return found


def inputs(folder: Path) -> None:
    """Real inputs under the names that the documents use."""
    questions, engine = assemble(EnvConfig(scorer=None, reward="outcome-f1"))
    for agent in ("noisy", "expert"):
        with RolloutFile(folder / f"{agent}.jsonl", {}) as file:
            for episode in collect(engine, ScriptedAgent(agent, questions), questions.questions[:2]):
                file.write(episode)
    passages = [{"id": p.id, "title": p.title, "text": p.text} for p in questions.passages]
    asked = [{"id": q.id, "question": q.text, "answers": q.answers} for q in questions.questions[:20]]
    said = (
        "<search>river</search>\n<information>Doc 1(Title: A) A river.</information>\n<answer>Danzig</answer>"
    )
    logs = [{"question": "Which port?", "golden_answers": ["A"], "response": said}]
    for name, rows in (("corpus", passages), ("dev", asked), ("logs", logs)):
        lines = [json.dumps(row) + "\n" for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
