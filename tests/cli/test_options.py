"""Every command has every argument of the environment, and reads them from a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from click import Command
from typer.testing import CliRunner

from igpo_gym.agents.training.folder import keep
from igpo_gym.agents.training.settings import NOT_TRAINED, Settings
from igpo_gym.cli import app
from igpo_gym.cli.options import NO_OPTIONS, configured
from igpo_gym.config import EnvConfig

runner = CliRunner()

LEFT_OUT: dict[str, tuple[str, ...]] = {
    "play": ("group_size",),
    "rollout": ("order",),
    "eval": ("order", "group_size"),
    "train": NOT_TRAINED,
    "bench train": (*NOT_TRAINED, "reward"),
    "bench credit": ("reference", "max_turns", "order"),
}
DIFFERENT = {
    "play": {},
    "rollout": {},
    "eval": {"questions": ["world:test"], "scorer": "none", "reward": "outcome-f1"},
    "train": {"scorer": "policy", "group_size": 8},
    "bench train": {"scorer": "policy", "group_size": 8},
    "bench credit": {"questions": "world:test", "group_size": 4, "reward": None},
}


def command(name: str) -> Command:
    found: Any = typer.main.get_command(app)
    for part in name.split():
        _, found, _ = found.resolve_command(typer.Context(found), [part])  # imports what is asked for
    return found


@pytest.mark.parametrize("name", LEFT_OUT)
@pytest.mark.parametrize("field", fields(EnvConfig), ids=lambda field: field.name)
def test_every_command_has_every_argument(name: str, field: Any) -> None:
    options = {each.name: each for each in command(name).params}
    if field.name in (*NO_OPTIONS, *LEFT_OUT[name]):
        assert field.name not in options
        return
    assert f"--{field.name.replace('_', '-')}" in options[field.name].opts
    assert options[field.name].default == DIFFERENT[name].get(field.name, field.default)


@pytest.mark.parametrize("base", ["train", "bench train"])
def test_every_setting_of_a_run_is_an_option(base: str) -> None:
    options = {each.name for each in command(base).params}
    missing = {field.name for field in fields(Settings)} - options
    assert missing == set(NOT_TRAINED) | (
        {"reward", "advantages", "seed"} if base == "bench train" else set()
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class Wider(EnvConfig):
    """A configuration with one argument more."""

    depth: Annotated[int | None, "How deep."] = 3


def made(base: type[EnvConfig] = EnvConfig, **options: Any) -> Callable[..., list[Any]]:
    """Runs a command with these options; gives what it was called with, and what was printed."""
    seen: list[Any] = []
    app = typer.Typer()

    @app.command()
    @configured(base, **options)
    def show(config: EnvConfig, agent: str = "expert", seed: int = 0) -> None:
        seen[:] = [config, agent, seed]

    def run(*arguments: Any, code: int = 0) -> list[Any]:
        result = runner.invoke(app, list(map(str, arguments)), env={"COLUMNS": "500"})
        assert result.exit_code == code, result.output
        return seen if code == 0 else [" ".join(result.output.split())]

    return run


def test_a_new_argument_is_an_option_at_once() -> None:
    run = made(Wider)
    assert run()[0] == Wider()
    assert run("--depth", 5)[0].depth == 5
    assert run("--depth", "none")[0].depth is None


def test_what_may_be_none_is_written_none() -> None:
    run = made(reward="outcome-f1")
    config = run(
        "--max-passage-chars", "none", "--max-reply-chars", 50, "--scorer", "none", "--on-limit", "answer"
    )[0]
    assert config == EnvConfig(
        max_passage_chars=None, max_reply_chars=50, scorer=None, on_limit="answer", reward="outcome-f1"
    )
    assert not run("--no-repeat-passages")[0].repeat_passages


def test_mistakes_are_explained() -> None:
    assert "max_turns must be a whole number of at least 1, not 0" in made()("--max-turns", 0, code=2)[0]
    assert "Invalid value for '--max-reply-chars'" in made()("--max-reply-chars", "few", code=2)[0]


JSON = '{"max_turns": 4, "search": null, "max_reply_chars": null, "repeat_passages": false, "seed": 7}'
TOML = 'max-turns = 4\nsearch = "none"\nmax-reply-chars = "none"\nrepeat_passages = false\nseed = 7\n'


@pytest.mark.parametrize(("name", "text"), [("a.json", JSON), ("a.toml", TOML)])
def test_a_file_gives_options_and_the_command_line_wins(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    expected = EnvConfig(max_turns=4, max_reply_chars=None, repeat_passages=False)
    assert made()("--config", tmp_path / name) == [expected, "expert", 7]
    config, _, seed = made()(
        "--max-turns", 5, "--config", tmp_path / name, "--max-reply-chars", 9, "--seed", 1
    )
    assert (config.max_turns, config.max_reply_chars, config.repeat_passages, seed) == (5, 9, False, 1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            '{"max_turn": 4}',
            "unknown setting 'max_turn'; did you mean max_turns? Choose one of: agent, judge, max_passage",
        ),
        ('{"group_size": 3}', "sets group_size, which this command does not take"),
        ('{"max_turns": "few"}', "Invalid value for '--max-turns'"),
        ('{"max_turns": true}', "Invalid value for '--max-turns'"),
        ('{"max_turns": 4.5}', "Invalid value for '--max-turns'"),
        ('{"max_reply_chars": 4.5}', "Invalid value for '--max-reply-chars'"),
        ('{"repeat_passages": 7}', "Invalid value for '--repeat-passages"),
        ('{"max_turns": [4]}', "max_turns must be a text, a number or a truth, not [4]"),
        ("[4]", "its JSON is no object"),
        ("max_turns = 4", "neither JSON nor TOML that can be read"),
        ('{"max_turns": 4, "max-turns": 5}', "sets max_turns twice"),
        ('{"max_turns": 4, "max_turns": 5}', "'max_turns' is set twice"),
        ('{"config": "b.json"}', "unknown setting 'config'"),
        ('{"top_k": 0}', "top_k must be a whole number of at least 1"),
    ],
)
def test_files_that_do_not_fit_are_explained(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert problem in made(without=("group_size",))("--config", tmp_path / "a.json", code=2)[0]


def test_what_a_run_writes_about_itself_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        '{"top_k": 2, "model_fingerprint": "x", "oracle_info": false, "probe": null}'
    )
    assert made()("--config", tmp_path / "a.json")[0] == EnvConfig(top_k=2)


@pytest.mark.parametrize(
    ("name", "spec", "harmless"),
    [
        ("scorer", "own.part:Scorer", "http://host:8000"),
        ("scorer", "some/model", "none"),
        ("agent", "own.part:Agent", "noisy"),
        ("reward", "f1 + own.part:term(a=1)", "igpo(context=evidence) + f1"),
        ("tools", "search + own.part:Tool", "search + open"),
    ],
)
def test_a_file_may_not_name_code_to_run(tmp_path: Path, name: str, spec: str, harmless: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps({name: spec}))
    run, config = made(), ("--config", tmp_path / "a.json")
    problem = run(*config, code=2)[0]
    assert "--trust-imports" in problem
    assert repr(spec.rpartition("+ ")[2].partition("(")[0]) in problem
    assert run(*config, "--trust-imports")
    assert run(*config, f"--{name}", spec)
    (tmp_path / "a.json").write_text(json.dumps({name: harmless}))
    assert run(*config)


def test_a_run_is_made_like_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(model="nano", scorer="refreshed:5", top_k=5, max_passage_chars=None, reference="nano",
                        advantages="a2tgpo(alpha=1.0)", curriculum=False, tools="search + open")  # fmt: skip
    keep(tmp_path, settings)
    seen: list[Any] = []
    monkeypatch.setattr(
        "igpo_gym.agents.training.trainer.train", lambda out, chosen, *_, **__: seen.append(chosen) or {}
    )
    command = ["train", str(tmp_path / "x"), "--config", str(tmp_path / "settings.json")]
    assert runner.invoke(app, command).exit_code == 0
    assert runner.invoke(app, [*command, "--scorer", "none", "--reward", "f1"]).exit_code == 0
    assert seen[0] == settings
    assert (seen[1].scorer, seen[1].reward, seen[1].top_k) == (None, "f1", 5)


def test_rewards_to_compare_may_be_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def run_credit(config: EnvConfig, rewards: Any, *_: Any, **__: Any) -> None:
        asked.append((config, rewards))
        raise ValueError("enough")

    monkeypatch.setattr("igpo_gym.benchmark.credit.run.run_credit", run_credit)
    (tmp_path / "a.toml").write_text('reward = ["igpo", "tips"]\ntop-k = 5\npolicy = "none"\n')
    options = ["--out", str(tmp_path / "out"), "--config", str(tmp_path / "a.toml")]
    result = runner.invoke(app, ["bench", "credit", *options])
    assert asked == [(EnvConfig(questions="world:test", top_k=5, group_size=4), ["igpo", "tips"])], (
        result.output
    )


@pytest.mark.parametrize("first", [True, False])
def test_a_file_goes_before_what_quick_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    (tmp_path / "a.toml").write_text("updates = 3\nseeds = 1\n")
    asked: list[Any] = []

    def run_training(out: Path, base: Settings, variants: object, seeds: int, *rest: object) -> None:
        asked.append((seeds, base.updates, base.validate_every))
        raise ValueError("enough")

    monkeypatch.setattr("igpo_gym.benchmark.training.run.run_training", run_training)
    options = ["--quick", "--config", str(tmp_path / "a.toml")]
    options = options if first else [*options[1:], options[0]]
    runner.invoke(app, ["bench", "train", "--out", str(tmp_path), *options])
    assert asked == [(1, 3, 4)]
