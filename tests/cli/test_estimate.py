"""What an estimate tells is what the run then spends, and an estimate keeps nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from igpo_gym.agents.policies import resolve_policy
from igpo_gym.agents.rollouts import estimates
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.rollouts.costs import Meter
from igpo_gym.agents.rollouts.estimates import Work, estimated, played
from igpo_gym.agents.training.checkpoint import write_checkpoint
from igpo_gym.agents.training.rehearsal import Rehearsal
from igpo_gym.agents.training.settings import Settings
from igpo_gym.agents.training.trainer import train
from igpo_gym.cli import app
from igpo_gym.config import EnvConfig
from igpo_gym.envs.setup import assemble
from igpo_gym.lm.policy import Sampling
from tests.cli.tiny import TINY_RUN, as_arguments

WORLD = "world:test#documents=60,questions=24"
COUNTED = ("messages", "beliefs", "searches", "tokens")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_the_real_run_spends_what_the_interval_says() -> None:
    question_set, engine = assemble(EnvConfig(questions=WORLD, scorer="nano", reward="igpo", max_turns=3))
    policy = resolve_policy("nano", question_set, engine.protocol, Sampling(max_tokens=24))
    questions = question_set.questions

    meter = Meter()
    meter.watch(policy, engine.scorer)
    found = estimated([Work("episodes", 24, played(engine, policy, questions[:10], 1, meter), meter)], 1e9)

    policy.reader.clear()  # a run begins with empty caches
    engine.scorer.clear()
    spent = Meter()
    spent.watch(policy, engine.scorer)
    for episode in collect(engine, policy, questions, 1):
        spent.saw(episode)
    for name in COUNTED:
        assert found[name].units == 10
        assert found[name].low <= getattr(spent.spent, name) <= found[name].high, name
    assert spent.spent.verdicts == found["verdicts"].value == 0


def test_a_training_spends_what_its_rehearsal_says(tmp_path: Path) -> None:
    settings = Settings(
        model="nano",
        questions="world:train#documents=60,questions=20",
        validation="world:validation#documents=60,questions=20",
        updates=2,
        batch_questions=2,
        group_size=2,
        max_turns=1,
        max_tokens=8,
        validation_questions=3,
        device="cpu",
    )
    rehearsal = Rehearsal(tmp_path / "run", settings)
    works = rehearsal.works()
    assert [work.left for work in works] == [2, 6, 6]
    found = estimated(works, 0)
    rehearsal.close()
    assert not (tmp_path / "run").exists()

    meter = Meter()
    train(tmp_path / "run", settings, meter=meter)
    # Every episode has a turn, four of each update and three of each of two validations, and two beliefs.
    assert meter.spent.messages == found["messages"].value == 2 * 4 + 2 * 3
    assert meter.spent.beliefs == found["beliefs"].value == 2 * 14
    assert meter.spent.tokens == pytest.approx(found["tokens"].value, rel=0.1)
    assert Rehearsal(tmp_path / "run", settings).left == (0, 0, 0)


def test_a_rehearsal_goes_on_from_the_checkpoint_and_not_from_the_log(tmp_path: Path) -> None:
    """A run that was killed has a log that is ahead, and makes these updates again."""
    settings = Settings(
        questions="world:train#documents=60,questions=20",
        validation="world:validation#documents=60,questions=20",
        updates=6,
        validate_every=5,
        validation_questions=3,
    )
    (tmp_path / "log.jsonl").write_text("".join(f'{{"update": {update}}}\n' for update in range(5)))
    assert Rehearsal(tmp_path, settings).left == (6, 9, 9), "there is no checkpoint yet"
    write_checkpoint(tmp_path / "state.pt", {"progress": (1, 10, 0.5, 0.1)})
    assert Rehearsal(tmp_path, settings).left == (5, 6, 6)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One piece of each work is tried."""
    monkeypatch.setattr(estimates, "SECONDS", 0.0)


@pytest.mark.usefixtures("at_once")
def test_every_command_that_spends_tells_and_keeps_nothing(tmp_path: Path) -> None:
    environment = ("--questions", WORLD, "--max-turns", "2")
    played, priced = tmp_path / "played.jsonl", tmp_path / "priced.jsonl"
    expert = ("--agent", "expert", *environment, "--scorer", "none", "--reward", "outcome-f1")
    run("rollout", *expert, "--limit", "20", "--out", str(played))
    there = set(tmp_path.iterdir())

    text = run("rollout", *expert, "--out", str(played), "--estimate")
    assert "left: 4 episodes" in text
    told = run("eval", *environment, "--agent", "expert", "--out", str(tmp_path / "eval.jsonl"), "--estimate")
    assert "left: 24 episodes" in told
    assert "no interval: of some work fewer than five pieces were tried" in told
    reward = ("--reward", "igpo", "--scorer", "nano", "--batch-size", "2")
    assert "left: 20 episodes" in run("relabel", str(played), *reward, "--out", str(priced), "--estimate")
    settings = as_arguments(TINY_RUN | {"updates": 3})
    text = run("train", str(tmp_path / "run"), *settings, "--estimate")
    assert "left: 3 updates, 4 validation episodes, 4 samples of them" in text
    variants = ("--variant", "outcome-f1/grpo", "--variant", "igpo", "--seeds", "2")
    text = run("bench", "train", "--out", str(tmp_path / "b"), *variants, *settings, "--estimate")
    assert "left: 12 updates, 16 validation episodes, 8 samples of them" in text
    credit = ("--questions", WORLD, "--policy", "none", "--reward", "igpo", "--limit", "3")
    text = run("bench", "credit", "--out", str(tmp_path / "c"), *credit, "--estimate")
    assert "left: 3 questions (pricing)" in text
    assert set(tmp_path.iterdir()) == there


@pytest.mark.usefixtures("at_once")
def test_what_would_be_refused_has_no_estimate(tmp_path: Path) -> None:
    out = str(tmp_path / "played.jsonl")
    expert = ("--agent", "expert", "--questions", WORLD, "--scorer", "none", "--out", out)
    run("rollout", *expert, "--reward", "outcome-f1", "--limit", "3")
    before = Path(out).read_bytes()
    for command in ("rollout", "eval"):
        reward = ("--reward", "f1") if command == "rollout" else ("--max-turns", "3")
        done = CliRunner().invoke(app, [command, *expert, *reward, "--estimate"], env={"COLUMNS": "300"})
        assert done.exit_code == 2, done.output
        assert "made with other settings" in done.output
    assert Path(out).read_bytes() == before


@pytest.mark.usefixtures("at_once")
def test_nothing_is_left_of_a_run_that_is_done(tmp_path: Path) -> None:
    out = str(tmp_path / "played.jsonl")
    expert = ("--agent", "expert", "--questions", WORLD, "--scorer", "none", "--reward", "outcome-f1")
    run("rollout", *expert, "--limit", "3", "--out", out)
    assert "nothing is left to do" in run("rollout", *expert, "--limit", "3", "--out", out, "--estimate")
