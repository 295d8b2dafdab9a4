from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from igpo_gym.benchmark.credit.measures import HACKING
from igpo_gym.benchmark.credit.pricing import PaidTrajectory
from igpo_gym.benchmark.credit.setup import Size
from igpo_gym.benchmark.credit.trajectories import MAX_TURNS, play_cast
from igpo_gym.benchmark.study.credit import MEASURES, POINTS, read_credit
from igpo_gym.benchmark.study.pricing import priced_arms, reaching
from igpo_gym.cli import app
from igpo_gym.config import EnvConfig
from igpo_gym.envs.setup import assemble


@pytest.fixture(scope="module")
def plays() -> list[PaidTrajectory]:
    """What agents played on a question, each turn but the last paid a number of its own."""
    task = EnvConfig(questions="world:test", scorer=None, reward="outcome-f1", max_turns=MAX_TURNS)
    questions, engine = assemble(task)
    played = play_cast(engine, questions, count=2, group_size=4)[1]
    return [
        PaidTrajectory(each, np.append(np.arange(1.0, len(each.labels)) + 10 * place, 0.0))
        for place, each in enumerate(played)
    ]


def test_the_pay_of_most_arms_reaches_their_estimator_as_it_is(plays: list[PaidTrajectory]) -> None:
    assert reaching("igpo", plays, 0) == plays


def test_gains_are_moved_within_their_episode_and_none_stays(plays: list[PaidTrajectory]) -> None:
    moved = reaching("permuted-3", plays, 0)
    for before, after in zip(plays, moved, strict=True):
        assert after.trajectory is before.trajectory
        assert sorted(after.shaping) == sorted(before.shaping)
        assert after.shaping[-1] == 0
        if len(before.shaping) > 2:
            assert (after.shaping[:-1] != before.shaping[:-1]).all()


def test_the_last_gain_is_left_alone(plays: list[PaidTrajectory]) -> None:
    for before, after in zip(plays, reaching("last-gain", plays, 0), strict=True):
        if len(before.shaping) > 1:
            assert after.shaping[-2] == before.shaping[-2]
            assert after.split.gains == (*[None] * (len(before.shaping) - 2), before.shaping[-2])
        assert not after.shaping[:-2].any()


def test_a_turn_without_a_gain_stays_without_one(plays: list[PaidTrajectory]) -> None:
    unread = [replace(play, counted=(False, *[True] * (len(play.shaping) - 1))) for play in plays]
    unread = [replace(play, shaping=np.where(play.counted, play.shaping, 0.0)) for play in unread]
    for after in reaching("permuted-3", unread, 0):
        assert after.split.gains[:1] == (None,)[: len(after.shaping) - 1]
        assert None not in after.split.gains[1:]


def test_noise_is_paid_where_what_an_agent_played_has_one_outcome(plays: list[PaidTrajectory]) -> None:
    found = reaching("noise", plays, 0)
    outcomes = {play.outcome for play in plays if play.trajectory.agent == "hasty"}
    assert len(outcomes) > 1, "so the group of the hasty agent has no noise"
    for play in found:
        if len(play.shaping) > 1:
            assert play.shaping[:-1].any() == (play.trajectory.agent != "hasty")
    again, other = (reaching("noise", plays, question) for question in (0, 1))
    assert all((a.shaping == b.shaping).all() for a, b in zip(found, again, strict=True))
    assert any((a.shaping != b.shaping).any() for a, b in zip(found, other, strict=True))


def test_the_share_of_hacking_is_of_what_is_paid(plays: list[PaidTrajectory]) -> None:
    hacks, all_ = HACKING.sample(plays)
    hackers = [play for play in plays if play.trajectory.agent in ("leaker", "forger")]
    assert hacks.sum() == sum(play.shaping.sum() for play in hackers)
    honest = [play.pays("completing", "adding", "redundant", "irrelevant").sum() for play in plays]
    assert all_.sum() == hacks.sum() + sum(honest)


@pytest.mark.slow
def test_every_arm_has_its_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import igpo_gym.benchmark.study.pricing as module

    small = Size(count=5, value_questions=2, completions=1)
    monkeypatch.setattr(module, "priced_arms", lambda **more: priced_arms(small, **more))
    done = CliRunner().invoke(app, ["bench", "study", "--out", str(tmp_path), "--credit"])
    assert done.exit_code == 0, done.output
    found = read_credit(tmp_path / "credit.json")
    assert found == json.loads((tmp_path / "credit.json").read_text())
    assert found.keys() == POINTS.keys()
    assert found["grpo"]["auc"] == 0.5, "it pays no turn"
    assert "r2" not in found["grpo"]
    assert found["igpo"] == found["frozen"], "before any training"
    assert found["igpo"].keys() <= MEASURES.keys()
    assert found["igpo"]["auc"] > 0.5
    assert found["placebo"] != found["igpo"]
