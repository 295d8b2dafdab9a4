"""A run that its budget ends, and goes on by the same command, comes to what an unbroken run comes to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from igpo_gym.agents.training.logs import read_log
from igpo_gym.benchmark.credit.pricing import Pricer
from igpo_gym.cli import app
from igpo_gym.cli.common import OVER_BUDGET
from igpo_gym.errors import ScoringError
from tests.cli.tiny import TINY_RUN, as_arguments

ENVIRONMENT = ("--questions", "world:test#documents=60,questions=6", "--max-turns", "2")


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def in_pieces(budget: str, *arguments: str) -> int:
    """Run the command under a budget until it is done; returns how many starts it took."""
    for start in range(1, 20):
        code, text = run(*arguments, "--budget", budget)
        if code == 0:
            return start
        assert code == OVER_BUDGET, text
        assert "the same command goes on" in text
    raise AssertionError("the run does not get on")


def lines(file: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in file.read_text().splitlines()]
    return sorted(found, key=lambda line: json.dumps(line.get("question", line.get("question_id"))))


def alike(ours: Any, theirs: Any) -> bool:
    """Whether two records are equal but for rounding: a run that goes on begins with empty prefix caches."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(alike(ours[name], theirs[name]) for name in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(alike, ours, theirs))
    if isinstance(ours, float) and isinstance(theirs, float):
        return ours == pytest.approx(theirs, abs=1e-4)
    return bool(ours == theirs)


@pytest.mark.parametrize("command", ["rollout", "eval"])
def test_episodes_are_those_of_an_unbroken_run(command: str, tmp_path: Path) -> None:
    arguments = (command, "--agent", "nano", *ENVIRONMENT, "--max-tokens", "24", "--batch-size", "1")
    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    code, text = run(*arguments, "--out", str(whole))
    assert code == 0, text
    assert in_pieces("calls=4, hours=1", *arguments, "--out", str(parts)) >= 3
    ours, theirs = lines(parts), lines(whole)
    assert len(ours) == 6
    for one, other in zip(ours, theirs, strict=True):
        assert alike(one, other)


@pytest.mark.parametrize(
    "command",
    ["rollout --agent nano", "eval", "relabel FILE --reward igpo", "train", "bench credit", "bench train"],
)
@pytest.mark.parametrize("more", [(), ("--estimate",)])
@pytest.mark.parametrize("budget", ["soon", "hours=0", "calls=nan", "calls=1, calls=2", ""])
def test_nonsense_is_no_budget(command: str, more: tuple[str, ...], budget: str, tmp_path: Path) -> None:
    place = [str(tmp_path / "out")] if command == "train" else ["--out", str(tmp_path / "out")]
    code, text = run(*command.split(), *place, *more, "--budget", budget)
    assert code == 2
    assert "budget" in text
    assert "with any of calls, tokens and hours" in text


def test_the_end_of_a_budget_tells_of_which_set_how_much_is_done(tmp_path: Path) -> None:
    out = str(tmp_path / "out.jsonl")
    sets = ("--questions", "world:test", "--questions", "world:validation")
    arguments = ("eval", "--agent", "expert", *sets, "--limit", "3", "--batch-size", "1", "--out", out)
    ends = [run(*arguments, "--budget", "calls=1") for _ in range(2)]
    assert [code for code, _ in ends] == [OVER_BUDGET] * 2
    assert "2 of 3 episodes of world:test are done" in ends[0][1]
    assert "0 of 3 episodes of world:validation are done" in ends[1][1]


def test_relabeled_lines_are_those_of_an_unbroken_run(tmp_path: Path) -> None:
    played, whole, parts = (tmp_path / f"{name}.jsonl" for name in ("played", "whole", "parts"))
    code, text = run("rollout", "--agent", "expert", *ENVIRONMENT, "--scorer", "none", "--reward",
                     "outcome-f1", "--out", str(played))  # fmt: skip
    assert code == 0, text
    arguments = ("relabel", str(played), "--reward", "igpo", "--scorer", "nano", "--batch-size", "2")
    code, text = run(*arguments, "--out", str(whole))
    assert code == 0, text
    assert in_pieces("calls=1", *arguments, "--out", str(parts)) == 3
    expected = whole.read_bytes()
    assert parts.read_bytes() == expected
    cut = [*expected.splitlines(keepends=True)[:3], expected[:40]]  # as a killed run leaves it
    (tmp_path / "parts.jsonl.part").write_bytes(b"".join(cut))
    parts.unlink()
    code, text = run(*arguments, "--out", str(parts))
    assert code == 0, text
    assert parts.read_bytes() == expected
    assert not list(tmp_path.glob("*.part"))


def test_a_training_ends_with_the_weights_of_an_unbroken_run(tmp_path: Path) -> None:
    settings = as_arguments(TINY_RUN | {"updates": 2})
    code, text = run("train", str(tmp_path / "whole"), *settings)
    assert code == 0, text
    # The first start validates, the second and third make an update each.
    assert in_pieces("tokens=1", "train", str(tmp_path / "parts"), *settings) == 3
    ours, theirs = (tmp_path / name / "last" / "model.safetensors" for name in ("parts", "whole"))
    assert ours.read_bytes() == theirs.read_bytes()
    assert [line["update"] for line in read_log(tmp_path / "parts" / "log.jsonl")] == [0, 1, 2]


@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_a_training_benchmark_comes_to_what_an_unbroken_one_comes_to(jobs: str, tmp_path: Path) -> None:
    settings = as_arguments(TINY_RUN | {"updates": 2, "seeds": 1, "jobs": jobs})
    variants = ("--variant", "outcome-f1/grpo", "--variant", "igpo")
    bench = ("bench", "train", *variants, *settings)
    code, text = run(*bench, "--out", str(tmp_path / "whole"))
    assert code == 0, text
    starts = in_pieces("tokens=1", *bench, "--out", str(tmp_path / "parts"))
    assert starts >= 3 or jobs == "2"  # a run beside others may make an update before it is told to stop
    ours, theirs = (
        {tuple(line["variant"]): line["curve"] for line in lines(tmp_path / name / "runs.jsonl")}
        for name in ("parts", "whole")
    )
    assert ours.keys() == theirs.keys()
    for variant, curve in ours.items():
        for point, other in zip(curve, theirs[variant], strict=True):
            assert {**point, "seconds": 0} == {**other, "seconds": 0}


CREDIT = (
    *("bench", "credit", "--questions", "world:test#documents=60,questions=6", "--group-size", "2"),
    *("--policy", "none", "--reward", "igpo"),
)


def test_a_credit_benchmark_comes_to_what_an_unbroken_one_comes_to(tmp_path: Path) -> None:
    arguments = (*CREDIT, "--limit", "3", "--reward", "redundancy")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    code, text = run(*arguments, "--out", str(whole))
    assert code == 0, text
    assert in_pieces("calls=1", *arguments, "--out", str(parts)) == 3
    assert {each.name for each in parts.iterdir()} == {each.name for each in whole.iterdir()}
    ours, theirs = (json.loads((each / "credit.json").read_text())["estimates"] for each in (parts, whole))
    assert alike(ours, theirs)
    assert (parts / "turns.csv").read_text().count("\n") == (whole / "turns.csv").read_text().count("\n")


def test_a_credit_benchmark_that_fails_behind_its_prices_does_not_price_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (*CREDIT, "--limit", "2", "--out", str(tmp_path))
    made: list[int] = []
    price, cost = Pricer.shapings, Pricer.cost

    def counted(*args: Any, **kwargs: Any) -> Any:
        made.append(1)
        return price(*args, **kwargs)

    def fails(*args: Any, **kwargs: Any) -> Any:
        raise ScoringError("the server is gone")

    monkeypatch.setattr(Pricer, "shapings", counted)
    monkeypatch.setattr(Pricer, "cost", fails)
    code, text = run(*arguments)
    assert code == 2
    assert "the server is gone" in text
    assert len(made) == 2
    assert (tmp_path / "priced.jsonl.part").exists()
    monkeypatch.setattr(Pricer, "cost", cost)
    code, text = run(*arguments)
    assert (code, len(made)) == (0, 2 + 1), f"once more for the time that it takes: {text}"
    assert not list(tmp_path.glob("priced*"))


@pytest.mark.parametrize(
    "budget", ["hour=2", "tokens", "tokens=0", "tokens=-1", "calls=1, calls=2", "hours=nan", ""]
)
def test_a_budget_that_cannot_be_read_ends_the_command_before_it_begins(budget: str, tmp_path: Path) -> None:
    code, text = run("rollout", "--agent", "expert", "--out", str(tmp_path / "a"), "--budget", budget)
    assert code == 2
    assert 'write it like "hours=2, tokens=5e6"' in text
    assert not (tmp_path / "a").exists()


def test_a_question_that_nobody_can_read_leaves_nothing_to_be_done(tmp_path: Path) -> None:
    """Its episodes are aborted, and have no branches: without this no start would ever be the last."""
    asked = [{"id": "short", "question": "Where is Danzig?"}, {"id": "long", "question": "word " * 6000}]
    questions, corpus = tmp_path / "questions.jsonl", tmp_path / "corpus.jsonl"
    questions.write_text("".join(json.dumps({**each, "answers": ["Poland"]}) + "\n" for each in asked))
    corpus.write_text(json.dumps({"id": "1", "title": "Danzig", "text": "It is in Poland."}) + "\n")
    arguments = (
        *("rollout", "--agent", "nano", "--questions", f"jsonl:{questions}", "--search", f"bm25:{corpus}"),
        *("--max-turns", "1", "--max-tokens", "8", "--batch-size", "1", "--branch", "even:1"),
    )
    out = tmp_path / "out.jsonl"
    assert in_pieces("hours=1e-9", *arguments, "--out", str(out)) <= 2
    assert [line["question"]["id"] for line in lines(out)] == ["short"] * 2
