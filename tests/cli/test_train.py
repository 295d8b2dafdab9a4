from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from igpo_gym.agents.rollouts.records import read_rollouts
from igpo_gym.agents.training.logs import read_log
from igpo_gym.cli import app
from igpo_gym.cli.train import SHOWN, display
from tests.cli.tiny import TINY_RUN, as_arguments


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["train", *arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_help_has_every_setting_with_its_default() -> None:
    code, text = run("--help")
    assert code == 0
    for words in (
        "--advantages",
        "igpo-separate",
        "Weight of the divergence",
        "Reward and credit",
        "--wandb",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--advantages", "ppo"), "unknown advantage estimator 'ppo'"),
        (("--scorer", "none"), "needs a scorer"),
        (("--model", "no-such-model"), "cannot load the model"),
    ],
)
def test_mistakes_are_explained(arguments: tuple[str, ...], problem: str, tmp_path: Path) -> None:
    code, text = run(str(tmp_path / "run"), *arguments)
    assert code == 2
    assert problem in text


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--sampler", "http://127.0.0.1:9"), "no answer from http://127.0.0.1:9"),
        (("--optimizer", "adamw-8bit"), "igpo-gym[8bit]"),
        (("--lora", "8"), "igpo-gym[lora]"),
    ],
)
def test_what_is_not_there_is_told_before_torch_is_imported(
    arguments: tuple[str, ...], problem: str, tmp_path: Path
) -> None:
    code = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in ("bitsandbytes", "peft") else find(name, *rest)
from igpo_gym.cli import app
try:
    app(["train", *sys.argv[1:]])
except SystemExit as ended:
    print(ended.code, "torch" in sys.modules)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "run"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert problem in done.stderr
    assert done.stdout.split() == ["2", "False"]
    assert not (tmp_path / "run").exists()


def test_a_run_from_the_command_line(tmp_path: Path) -> None:
    settings = {
        **TINY_RUN,
        "batch-questions": 2,
    }
    arguments = as_arguments(settings)
    code, text = run(str(tmp_path), *arguments)
    assert code == 0, text
    shown = [line for line in text.splitlines() if line.startswith("update ")]  # a line each, without bars
    assert [line.partition(":")[0] for line in shown] == ["update 0 of 1", "update 1 of 1"]
    assert all(
        f", {name} " in shown[1] for name in ("F1", "tools", "collapse", "sample", "learn", "valid. F1")
    )
    assert "━" not in text
    assert [line["update"] for line in read_log(tmp_path / "log.jsonl")] == [0, 1]
    kept = [tmp_path / "samples" / name for name in ("000000.jsonl", "000001.jsonl")]
    assert text.rstrip().endswith(f"igpo-gym view {kept[0]} {kept[1]}")
    for file in kept:
        episodes = list(read_rollouts(file))
        assert len(episodes) == 2
        assert all(len(each.beliefs) == each.states for each in episodes)


def test_a_terminal_shows_a_table_of_which_no_column_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr("igpo_gym.cli.train.console", terminal)
    metrics = dict.fromkeys(SHOWN, 0.25)
    with display(2) as show:
        for update in (0.0, 1.0):
            show({"update": update, **metrics})
    assert isinstance(terminal.file, io.StringIO)
    last = terminal.file.getvalue().rpartition("collapse")[0].splitlines()[-1] + "collapse"
    assert {"update", "reward", "tools"} <= set(last.split())
    assert "1/2" in terminal.file.getvalue()


def test_a_start_that_fails_leaves_no_settings_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    own = questions(tmp_path)
    for wrong, problem in (
        (("--scorer", "http://127.0.0.1:9#retries=0"), "no answer from"),
        (("--questions", f"jsonl:{tmp_path / 'missing.jsonl'}"), "missing.jsonl"),
        (
            ("--reward", "igpo + evidence-recall", "--questions", f"jsonl:{own}"),
            "gold evidence",
        ),
        (("--wandb",), "wandb"),
    ):
        code, text = run(str(tmp_path / "run"), "--model", "nano", *wrong)
        assert code == 2, text
        assert problem in " ".join(text.split())
        assert not (tmp_path / "run" / "settings.json").exists()
        assert not (tmp_path / "run" / "log.jsonl").exists()


def questions(folder: Path) -> Path:
    lines = [{"id": f"{n}", "question": "Who?", "answers": ["x"]} for n in range(9)]
    (folder / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "own.jsonl"


def test_a_recipe_sets_what_the_command_line_leaves_open(tmp_path: Path) -> None:
    arguments = as_arguments(TINY_RUN)
    code, text = run(str(tmp_path), "--recipe", "authors", *arguments)
    assert code == 0, text
    assert "recipe authors (the later script of IGPO's authors); otherwise here: on a GPU the weights" in text
    kept = json.loads((tmp_path / "settings.json").read_text())
    assert kept["reward"] == "log-gain(aliases=first) + f1(metric=igpo) - 2*format-penalty"
    assert (kept["entropy_coef"], kept["weight_decay"], kept["on_invalid"]) == (0.001, 0.01, "end")
    assert (kept["group_size"], kept["max_turns"]) == (2, 2)
    code, text = run(str(tmp_path / "other"), "--recipe", "paperr")
    assert code == 2
    assert "unknown recipe 'paperr'" in text
