import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from igpo_gym.cli import app
from igpo_gym.data import resolve_questions
from igpo_gym.data.catalog import CATALOG
from igpo_gym.specs import names


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["data", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "nq.jsonl"
    path.write_text(
        '{"question": "where is the port", "answer": ["Danzig", "Gdańsk"]}\n'
        '{"question": "Where is [red]the port[/red]?\\u001b[2J\\u009b2J", "answer": ["A"]}\n'
    )
    return path


def test_every_registered_set_is_listed_once() -> None:
    listed = [known.spec.partition(":")[0].partition("[")[0] for known in CATALOG]
    assert sorted(listed) == sorted(set(names("questions")) & set(listed))
    package = ("world", "hf", *(name for name in names("questions") if name not in ("world", "hf")))
    assert set(listed) == set(package)
    shown = run("list")
    assert all(known.spec.partition("[")[0] in shown for known in CATALOG)
    assert [each["spec"] for each in json.loads(run("list", "--json"))] == [known.spec for known in CATALOG]


def test_show_says_what_was_read_and_what_is_odd(file: Path) -> None:
    shown = run("show", str(file))
    for words in (f"read as nq:{file}", "1 to 2, median 1.5", "Gdańsk", "empty normal form", "[red]the port"):
        assert words in shown.replace("\n", "") or words in shown
    assert "\x1b[2J" not in shown
    assert "\x9b" not in run("show", str(file), "--json")
    found = json.loads(run("show", f"nq:{file}#limit=1", "--json", "--examples", "5"))
    assert (found["questions"], len(found["examples"]), found["odd"]) == (1, 1, [])
    assert found["examples"][0]["answers"] == ["Danzig", "Gdańsk"]


def test_a_wrong_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"title": "T"}\n')
    assert "x.jsonl, line 1: no known layout of questions" in run(
        "show", str(tmp_path / "x.jsonl"), code=2
    ).replace("\n", " ")
    assert resolve_questions("world:test").questions
