"""Which files are a run, and which say what its episodes are paid."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Branch, Episode
from igpo_gym.errors import DataError
from igpo_gym.rewards import PRESETS
from igpo_gym.rewards.split import Split
from igpo_gym.viewer import runs
from igpo_gym.viewer.runs import read_runs
from tests.conftest import play
from tests.viewer.pages import AGAIN, RIGHT, SEARCH, WRONG, group, write


def priced(path: Path, reward: str, values: dict[tuple[str, int], list[dict[str, float]]]) -> Path:
    """Lines as ``igpo-gym relabel`` writes them."""
    lines = [
        {"question_id": question, "attempt": attempt, "rewards": {reward: {"return": 0.0, "turns": turns}}}
        for (question, attempt), turns in values.items()
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_lines_of_rewards_belong_to_the_recording_in_front(tmp_path: Path, engine: Engine) -> None:
    episodes = [play(engine, 1, SEARCH, RIGHT), play(engine, 0, SEARCH, WRONG)]
    recording = write(tmp_path / "a.jsonl", episodes)
    f1 = [[{"f1": 0.0}, {"f1": 1.0}], [{"f1": 0.0}, {"f1": 0.0}]]
    lines = priced(tmp_path / "p.jsonl", "outcome-f1", {("q-birth", 0): f1[0], ("q-author", 0): f1[1]})
    (run,) = read_runs([recording, lines])
    assert run.name == "a"
    assert [list(each.paid) for each in run.episodes] == [["igpo", "outcome-f1"]] * 2
    told = run.episodes[0].paid["outcome-f1"]
    assert told.terms == f1[0]


def test_records_that_say_the_same_are_the_same_episodes_under_another_reward(
    tmp_path: Path, engine: Engine
) -> None:
    episodes = group(engine)
    first = write(tmp_path / "a.jsonl", episodes)
    again = [
        replace(each, rewards=[{"f1": 2.0 * terms["f1"]} for terms in each.rewards]) for each in episodes
    ]
    second = write(tmp_path / "b.jsonl", again, PRESETS["outcome-f1"])
    (run,) = read_runs([first, second])
    assert list(run.episodes[0].paid) == ["igpo", "outcome-f1"]
    # the same again, but for rounding, is nothing new
    (same,) = read_runs([first, write(tmp_path / "c.jsonl", episodes)])
    assert list(same.episodes[0].paid) == ["igpo"]
    # under the same name, but otherwise: a name of its own
    (other,) = read_runs([first, write(tmp_path / "d.jsonl", again, None, reward="igpo")])
    assert list(other.episodes[0].paid) == ["igpo", "igpo (d)"]


def test_a_recorded_split_keeps_turns_without_a_gain(tmp_path: Path, engine: Engine) -> None:
    """The reward is not known here, so that what the record tells is all there is."""
    episode = play(engine, 1, SEARCH, SEARCH, RIGHT)
    episode.extra["split"] = {"gains": [None, 0.5], "outcome": 1.0, "last_gain": False}
    (run,) = read_runs([write(tmp_path / "a.jsonl", [episode], None, reward="my.module:reward")])
    (paid,) = run.episodes[0].paid.values()
    assert paid.split == Split((None, 0.5), 1.0)


def test_records_that_hold_several_rewards(tmp_path: Path, engine: Engine) -> None:
    episode = play(engine, 1, SEARCH, RIGHT)
    other = [{"f1": 0.0}, {"f1": 1.0}]
    priced = {
        "igpo": {"return": 1.0, "turns": episode.rewards},
        "outcome-f1": {"return": 1.0, "turns": other},
    }
    both = replace(episode, extra={"priced": priced})
    (run,) = read_runs([write(tmp_path / "a.jsonl", [both], reward="tips")])
    paid = run.episodes[0].paid
    assert list(paid) == ["igpo", "outcome-f1"]
    assert paid["outcome-f1"].terms == other
    assert paid["outcome-f1"].split is not None


def test_lines_are_about_the_episodes_in_order(tmp_path: Path, engine: Engine) -> None:
    """Two sets in one file share ids and attempts."""
    episode = play(engine, 1, SEARCH, RIGHT)
    first, second = (write(tmp_path / f"{name}.jsonl", [episode], questions=name) for name in "ab")
    joined = tmp_path / "both.jsonl"
    joined.write_text(first.read_text() + second.read_text())
    lines = [
        priced(tmp_path / f"{n}.p", "x", {("q-birth", 0): [{"x": n}, {"x": n}]}).read_text()
        for n in (1.0, 2.0)
    ]
    (tmp_path / "p.jsonl").write_text("".join(lines))
    (run,) = read_runs([joined, tmp_path / "p.jsonl"])
    assert [each.paid["x"].terms[0] for each in run.episodes] == [{"x": 1.0}, {"x": 2.0}]


def stepped(engine: Engine, *later: str) -> list[Episode]:
    """The same attempt at the same question in two steps of a trainer."""
    episodes = [play(engine, 1, SEARCH, RIGHT), play(engine, 1, SEARCH, *later)]
    for step, episode in enumerate(episodes, 1):
        episode.extra["step"] = step
    return episodes


@pytest.mark.parametrize("later", [(WRONG,), (AGAIN, RIGHT)])
def test_lines_are_about_the_steps_of_a_trainer_in_order(
    later: tuple[str, ...], tmp_path: Path, engine: Engine
) -> None:
    """Trainers number the attempts of each step anew."""
    episodes = stepped(engine, *later)
    recording = write(tmp_path / "a.jsonl", episodes)
    lines = [
        priced(tmp_path / f"{n}.p", "x", {("q-birth", 0): [{"x": float(n)}] * len(each.turns)}).read_text()
        for n, each in enumerate(episodes, 1)
    ]
    (tmp_path / "p.jsonl").write_text("".join(lines))
    for start, wanted in ((0, [1.0, 2.0]), (1, [2.0])):
        (run,) = read_runs([recording, tmp_path / "p.jsonl"], start)
        assert [each.paid["x"].terms[0]["x"] for each in run.episodes] == wanted


def test_records_of_the_steps_of_a_trainer_are_the_same_run(tmp_path: Path, engine: Engine) -> None:
    episodes = stepped(engine, WRONG)
    again = [replace(each, rewards=[{"f1": terms["f1"]} for terms in each.rewards]) for each in episodes]
    first = write(tmp_path / "a.jsonl", episodes)
    second = write(tmp_path / "b.jsonl", again, PRESETS["outcome-f1"])
    (run,) = read_runs([first, second])
    assert [each.paid["outcome-f1"].terms[1]["f1"] for each in run.episodes] == [1.0, 0.0]


def test_another_set_of_the_same_ids_is_not_priced(tmp_path: Path, engine: Engine) -> None:
    recording = write(tmp_path / "a.jsonl", [play(engine, 1, SEARCH, RIGHT)], questions="a")
    lines = priced(tmp_path / "p.jsonl", "x", {("q-birth", 0): [{"x": 1.0}, {"x": 1.0}]})
    told = json.loads(lines.read_text())
    lines.write_text(json.dumps(told | {"questions": "b"}) + "\n")
    with pytest.raises(DataError, match=r"p\.jsonl, line 1: .* not about that line of a"):
        read_runs([recording, lines])
    lines.write_text(json.dumps(told | {"questions": "a"}) + "\n")
    assert read_runs([recording, lines])[0].episodes[0].paid["x"].terms == [{"x": 1.0}, {"x": 1.0}]


def test_other_messages_are_another_run(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "later").mkdir()
    first = write(tmp_path / "a.jsonl", [play(engine, 1, SEARCH, WRONG)])
    second = write(tmp_path / "later" / "a.jsonl", [play(engine, 1, SEARCH, RIGHT)])
    assert [run.name for run in read_runs([first, second])] == ["a", "a 2"]


def test_advantages_are_those_of_the_group(tmp_path: Path, engine: Engine) -> None:
    """METHOD's own example: gains .3 .1 | .05 and outcomes 1 | 0."""
    long, short = play(engine, 1, SEARCH, SEARCH, RIGHT), play(engine, 1, SEARCH, WRONG)
    short.attempt = 1
    terms = ({"gain": 0.3, "f1": 0.0}, {"gain": 0.1, "f1": 0.0}, {"gain": 0.0, "f1": 1.0})
    long.rewards[:] = [{**each, "format-penalty": 0.0} for each in terms]
    short.rewards[:] = [
        {"gain": 0.05, "f1": 0.0, "format-penalty": 0.0},
        {"gain": 0.0, "f1": 0.0, "format-penalty": 0.0},
    ]
    (run,) = read_runs([write(tmp_path / "a.jsonl", [long, short])])
    found = run.advantages("igpo", "igpo-separate")
    assert found[0] == pytest.approx([1.926, 0.537, 1.0], abs=2e-3)
    assert found[1] == pytest.approx([-1.926, -1.0], abs=2e-3)
    assert run.advantages("igpo", "grpo") == [
        pytest.approx([1.0] * 3, abs=1e-3),
        pytest.approx([-1.0] * 2, abs=1e-3),
    ]
    assert run.advantages("tips") == [[], []]


def test_a_shared_turn_has_the_mean_advantage_and_steps_are_apart(tmp_path: Path, engine: Engine) -> None:
    first, branch = play(engine, 1, SEARCH, RIGHT), play(engine, 1, SEARCH, WRONG)
    branch.attempt, branch.branch = 1, Branch(0, 1)
    later = play(engine, 1, SEARCH, WRONG)
    later.extra["step"] = 2
    (run,) = read_runs([write(tmp_path / "a.jsonl", [first, branch, later])])
    (shared, right), (again, wrong), alone = run.advantages("igpo", "grpo")
    assert (right, wrong) == (pytest.approx(1.0, abs=1e-3), pytest.approx(-1.0, abs=1e-3))
    assert shared == again == pytest.approx((right + wrong) / 2, abs=1e-9)
    assert alone == [0.0, 0.0]


def test_a_reward_that_is_not_known_here_has_no_advantage(tmp_path: Path, engine: Engine) -> None:
    recording = write(tmp_path / "a.jsonl", [play(engine, 1, SEARCH, RIGHT)])
    lines = priced(tmp_path / "p.jsonl", "os:system", {("q-birth", 0): [{"x": 0.0}, {"x": 1.0}]})
    (run,) = read_runs([recording, lines])
    assert run.episodes[0].paid["os:system"].split is None
    assert run.advantages("os:system") == [[]]


def test_what_does_not_belong_is_refused(tmp_path: Path, engine: Engine) -> None:
    recording = write(tmp_path / "a.jsonl", [play(engine, 1, SEARCH, RIGHT)])
    other = priced(tmp_path / "o.jsonl", "x", {("else", 0): [{"x": 1.0}]})
    short = priced(tmp_path / "s.jsonl", "x", {("q-birth", 0): [{"x": 1.0}]})
    with pytest.raises(DataError, match="holds rewards without episodes"):
        read_runs([other, recording])
    with pytest.raises(DataError, match="not about that line of a"):
        read_runs([recording, other])
    with pytest.raises(DataError, match=r"s\.jsonl, line 1: .*x pays 1 turns, but there are 2"):
        read_runs([recording, short])
    odd = priced(tmp_path / "n.jsonl", "x", {("q-birth", 0): [{"x": 1.0}, {"x": float("nan")}]})
    with pytest.raises(DataError, match=r"n\.jsonl, line 1: .*x pays what is not finite"):
        read_runs([recording, odd])
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError, match="no episodes to show"):
        read_runs([tmp_path / "empty.jsonl"])


def test_a_part_of_the_episodes(tmp_path: Path, engine: Engine) -> None:
    recording = write(tmp_path / "a.jsonl", group(engine))
    values = {("q-birth", n): [{"x": float(n)}] * turns for n, turns in enumerate((3, 2, 2, 3))}
    lines = priced(tmp_path / "p.jsonl", "x", values)
    (run,) = read_runs([recording, lines], 1, 2)
    assert [(each.episode.attempt, each.paid["x"].terms[0]["x"]) for each in run.episodes] == [
        (1, 1.0),
        (2, 2.0),
    ]
    assert len(read_runs([recording], 3)[0].episodes) == 2
    with pytest.raises(DataError, match="no episodes to show from number 5 on"):
        read_runs([recording], 5)


def test_a_large_file_is_refused_before_it_is_read(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = write(tmp_path / "a.jsonl", group(engine))
    size = recording.stat().st_size
    monkeypatch.setattr(runs, "LARGEST", size - 1)
    monkeypatch.setattr(runs, "LIMIT", size // 2)
    with pytest.raises(DataError, match=r"5 episodes of 0\.0 GB .* --episodes \(about 2 fit\)"):
        read_runs([recording])
    assert len(read_runs([recording], 0, 4)[0].episodes) == 4
    monkeypatch.setattr(runs, "LARGEST", size)
    assert len(read_runs([recording])[0].episodes) == 5


def test_turns_that_the_scorer_could_not_read_have_no_gain(tmp_path: Path, engine: Engine) -> None:
    recording = write(tmp_path / "a.jsonl", [play(engine, 1, SEARCH, AGAIN, RIGHT)])
    terms = [{"gain": 0.5, "f1": 0.0}, {"gain": 0.0, "f1": 0.0}, {"gain": 0.0, "f1": 1.0}]
    lines = priced(tmp_path / "p.jsonl", "gain + f1", {("q-birth", 0): terms})
    record = json.loads(lines.read_text())
    lines.write_text(json.dumps(record | {"unread": [2]}) + "\n")
    (run,) = read_runs([recording, lines])
    paid = run.episodes[0].paid["gain + f1"]
    assert paid.split is not None
    assert paid.split.gains == (0.5, None)


def test_a_recorded_split_may_leave_turns_without_a_gain(tmp_path: Path, engine: Engine) -> None:
    episode = play(engine, 1, SEARCH, AGAIN, RIGHT)
    recording = write(tmp_path / "a.jsonl", [episode], None, reward="a term of somebody's own")
    record = json.loads(recording.read_text())
    record["split"] = {"gains": [None, 0.25], "outcome": 1.0, "last_gain": False}
    recording.write_text(json.dumps(record) + "\n")
    (run,) = read_runs([recording])
    (paid,) = run.episodes[0].paid.values()
    assert paid.split is not None
    assert paid.split.gains == (None, 0.25)


@pytest.mark.parametrize(
    "changes",
    [
        {"gains": [10**400, 0.0], "outcome": 1.0},
        {"gains": [0.0, 0.0], "outcome": "a"},
        {"gains": [0.0], "outcome": {}},
    ],
)
def test_a_recorded_split_of_no_numbers_is_computed_anew(
    changes: dict[str, Any], tmp_path: Path, engine: Engine
) -> None:
    recording = write(tmp_path / "a.jsonl", [play(engine, 1, SEARCH, AGAIN, RIGHT)])
    (right,) = read_runs([recording])[0].episodes[0].paid.values()
    record = json.loads(recording.read_text())
    record["split"] = {**record["split"], **changes}
    recording.write_text(json.dumps(record) + "\n")
    (paid,) = read_runs([recording])[0].episodes[0].paid.values()
    assert paid.split == right.split
