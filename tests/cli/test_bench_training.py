from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from igpo_gym.agents.training.settings import Settings
from igpo_gym.cli import app
from tests.cli.tiny import TINY_RUN, as_arguments


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["bench", "train", *arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_help_offers_the_settings_but_for_what_is_compared() -> None:
    code, text = run("--help")
    assert code == 0
    assert "--group-size" in text
    assert "--reward " not in text
    assert "--advantages" not in text


def test_a_mistake_is_explained(tmp_path: Path) -> None:
    code, text = run("--out", str(tmp_path), "--variant", "igpo/ppo")
    assert code == 2
    assert "unknown advantage estimator 'ppo'" in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), (5, 100, 10, 100)),
        (("--quick",), (2, 12, 4, 50)),
        (("--quick", "--updates", "3", "--seeds", "1"), (1, 3, 4, 50)),
        (("--updates", "100", "--validation-questions", "7", "--quick"), (2, 100, 4, 7)),
    ],
)
def test_quick_leaves_the_options_that_are_given(
    arguments: tuple[str, ...],
    expected: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    asked = []

    def run_training(out: Path, base: Settings, variants: object, seeds: int, *rest: object) -> None:
        asked.append((seeds, base.updates, base.validate_every, base.validation_questions))
        raise ValueError("enough")

    monkeypatch.setattr("igpo_gym.benchmark.training.run.run_training", run_training)
    assert "enough" in run("--out", str(tmp_path), *arguments)[1]
    assert asked == [expected]


@pytest.mark.slow
def test_a_benchmark_from_the_command_line(tmp_path: Path) -> None:
    settings = {
        **TINY_RUN,
        "seeds": 2,
        "variant": "outcome-f1/grpo",
    }
    arguments = as_arguments(settings)
    code, text = run("--out", str(tmp_path), *arguments, "--variant", "igpo/a2tgpo")
    assert code == 0, text
    assert "igpo / a2tgpo" in text
    assert {"report.html", "curves.csv", "measures.csv", "training.json", "runs.jsonl"} <= {
        path.name for path in tmp_path.iterdir()
    }
