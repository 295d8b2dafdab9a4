"""The file, and the command that writes it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import webbrowser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from igpo_gym.cli import app
from igpo_gym.envs.engine import Engine
from igpo_gym.errors import DataError
from igpo_gym.viewer import page as pages
from igpo_gym.viewer.runs import read_runs
from tests.conftest import play
from tests.viewer.pages import EVIL, RIGHT, SEARCH, WRONG, group, write

RUNNER = CliRunner()


def blocks(html: str) -> dict[str, object]:
    """The page's data by the id of its block, as a browser takes it: up to the first end tag."""
    found = re.findall(r'<script type="application/json" id="(\w+)">(.*?)</script', html, re.S | re.I)
    return {name: json.loads(text) for name, text in found}


def test_the_page_is_one_file_that_asks_for_nothing(tmp_path: Path, engine: Engine) -> None:
    out = tmp_path / "page.html"
    assert pages.write_page(out, read_runs([write(tmp_path / "a.jsonl", group(engine))])) == 5
    html = out.read_text(encoding="utf-8")
    assert set(blocks(html)) == {"summary", "e0", "e1", "e2", "e3", "e4"}
    assert not re.search(r"(?:src|href|action)\s*=\s*[\"']?(?:https?:)?//", html)
    assert not re.search(r"@import|url\(\s*[\"']?http|fetch\(|XMLHttpRequest|importScripts", html)
    (script,) = re.findall(r"<script>(.*?)</script", html, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'" in html


def test_the_script_cannot_end_early() -> None:
    script = pages._script()
    assert "</script" not in script.lower()
    assert "<!--" not in script


def test_markup_stays_data(tmp_path: Path, engine: Engine) -> None:
    episode = play(engine, 1, f"<search>{EVIL}</search>", f"<answer>{EVIL}</answer>")
    out = tmp_path / "page.html"
    pages.write_page(out, read_runs([write(tmp_path / "<script>&.jsonl", [episode], agent=EVIL)]))
    html = out.read_text(encoding="utf-8")
    assert html.lower().count("<script") == 1 + len(blocks(html))
    assert "<img" not in html
    assert "<title>&lt;script&gt;&amp;</title>" in html


def test_too_much_is_refused_with_what_fits(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = read_runs([write(tmp_path / "a.jsonl", group(engine))])
    sizes = [len(pages.as_json(each)) for each in pages.page_data(runs).details]
    monkeypatch.setattr(pages, "LIMIT", sum(sizes[:3]) + 1)
    with pytest.raises(
        DataError, match=r"5 episodes are more than one page holds.* 3 fit: give --episodes 3"
    ):
        pages.write_page(tmp_path / "page.html", runs)
    assert not (tmp_path / "page.html").exists()
    monkeypatch.setattr(pages, "LIMIT", sum(sizes))
    assert pages.write_page(tmp_path / "page.html", runs) == 5


def test_the_command_writes_a_page(tmp_path: Path, engine: Engine) -> None:
    recording = write(tmp_path / "a.jsonl", group(engine))
    out = tmp_path / "new" / "page.html"
    done = RUNNER.invoke(
        app,
        [
            "view",
            str(recording),
            "--out",
            str(out),
            "--start",
            "1",
            "--episodes",
            "2",
            "--advantages",
            "grpo",
        ],
    )
    assert done.exit_code == 0, done.output
    assert "2 episodes" in done.output
    summary = blocks(out.read_text(encoding="utf-8"))["summary"]
    assert isinstance(summary, dict)
    assert [each["attempt"] for each in summary["episodes"]] == [1, 2]
    assert summary["estimator"] == "grpo"


def test_the_command_opens_the_page(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(opened.append(url)) or True)
    recording = write(tmp_path / "a.jsonl", [play(engine, 1, SEARCH, WRONG)])
    done = RUNNER.invoke(app, ["view", str(recording)])
    assert done.exit_code == 0, done.output
    (url,) = opened
    assert url.startswith("file://")
    assert url.endswith("/a.html")


def test_mistakes_are_told_in_a_line(tmp_path: Path, engine: Engine) -> None:
    recording = write(tmp_path / "a.jsonl", [play(engine, 1, SEARCH, RIGHT)])
    for arguments, message in (
        ([str(tmp_path / "none.jsonl")], "no such file"),
        ([str(recording), "--advantages", "none"], "unknown advantage estimator 'none'"),
        ([str(recording), "--advantages", "vine"], "vine needs a gain on every last turn"),
        ([str(recording), "--start", "7"], "no episodes to show from number 7 on"),
    ):
        done = RUNNER.invoke(app, ["view", *arguments, "--out", str(tmp_path / "page.html")])
        assert done.exit_code == 2
        assert message in done.output
    assert not (tmp_path / "page.html").exists()


def test_tokens_of_the_bundled_model_have_names(tmp_path: Path, engine: Engine) -> None:
    episode = play(engine, 0, SEARCH, WRONG)
    recording = write(tmp_path / "a.jsonl", [episode], scorer="nano")
    out = tmp_path / "page.html"
    assert RUNNER.invoke(app, ["view", str(recording), "--out", str(out)]).exit_code == 0
    told = blocks(out.read_text(encoding="utf-8"))["e0"]
    assert isinstance(told, dict)
    # the words of the scorer of these tests are not nano's tokens, so they stay numbered
    assert told["answers"][0]["tokens"] is None
