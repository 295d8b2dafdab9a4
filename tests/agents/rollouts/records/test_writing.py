from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from igpo_gym.agents.rollouts.records import RolloutFile, read_rollouts
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Message
from igpo_gym.errors import DataError
from tests.agents.rollouts.records.played import SETTINGS, play
from tests.conftest import QUESTIONS


def test_a_file_keeps_what_it_has_and_goes_on(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rollouts.jsonl"
    first, second, again = play(engine, 0), play(engine, 1), play(engine, 1, attempt=1)
    with RolloutFile(path, SETTINGS) as file:
        file.write(first)
        # Readable while the run still goes on.
        assert list(read_rollouts(path)) == [first]
    with path.open("ab") as raw:
        raw.write(b'{"settings": {"agent": "x", "se')
    with RolloutFile(path, SETTINGS) as file:
        assert file.done == {("q-author", 0)}
        file.write(second)
        file.write(again)
    assert list(read_rollouts(path)) == [first, second, again]
    with RolloutFile(path, SETTINGS) as file:
        assert file.done == {("q-author", 0), ("q-birth", 0), ("q-birth", 1)}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs devices")
def test_a_device_is_written_and_never_read(engine: Engine) -> None:
    """Reading /dev/full or /dev/zero to its end would take for ever."""
    with RolloutFile(Path("/dev/null"), SETTINGS) as file:
        file.write(play(engine))
        assert file.done == {("q-birth", 0)}
    with (
        pytest.raises(OSError, match="No space left on device: '/dev/full'"),
        RolloutFile(Path("/dev/full"), SETTINGS) as file,
    ):
        file.write(play(engine))


def test_a_file_of_other_settings_is_refused_and_kept(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    with RolloutFile(path, SETTINGS) as file:
        file.write(play(engine))
    content = path.read_bytes()
    with pytest.raises(DataError, match=r"line 1: made with other settings \(seed\)"):
        RolloutFile(path, {**SETTINGS, "seed": 1})
    assert path.read_bytes() == content


def test_a_fingerprint_that_a_line_lacks_is_not_compared(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    with RolloutFile(path, SETTINGS) as file:
        file.write(play(engine, 0))
    with RolloutFile(path, {**SETTINGS, "hash": "1"}, ["hash"]) as file:
        file.write(play(engine, 1))
    with pytest.raises(DataError, match=r"line 2: made with other settings \(hash\)"):
        RolloutFile(path, {**SETTINGS, "hash": "2"}, ["hash"])
    with pytest.raises(DataError, match=r"line 1: made with other settings \(hash\)"):
        RolloutFile(path, {**SETTINGS, "hash": "1"})


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("line", ["not json", "[]", "{}", '{"format": 1}', '[{"_id": "HotpotQA"}]'])
def test_a_foreign_file_is_refused_and_kept(tmp_path: Path, line: str, end: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(line + end)
    with pytest.raises(DataError, match="line 1: not a recorded episode"):
        RolloutFile(path, SETTINGS)
    with pytest.raises(DataError, match="line 1: not a recorded episode"):
        list(read_rollouts(path))
    assert path.read_text() == line + end


def test_a_second_run_may_not_write_the_same_file(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    with RolloutFile(path, SETTINGS), pytest.raises(BlockingIOError, match="another run is writing"):
        RolloutFile(path, SETTINGS)
    with RolloutFile(path, SETTINGS):
        pass


def test_numbers_of_other_libraries_are_written(engine: Engine, tmp_path: Path) -> None:
    episode = play(engine)
    episode.rewards[0]["gain"] = np.float32(0.5)  # type: ignore[assignment]
    with RolloutFile(tmp_path / "out.jsonl", SETTINGS) as file:
        file.write(episode)
    assert next(iter(read_rollouts(tmp_path / "out.jsonl"))).rewards[0]["gain"] == 0.5


def test_the_token_ids_of_other_libraries_are_read_back(engine: Engine, tmp_path: Path) -> None:
    (episode,) = engine.begin([QUESTIONS[0]])
    sampled = Message("<answer>Danzig</answer>", tuple(np.array([3, 5])), tuple(np.array([-0.5, -1.5])))
    engine.settle(engine.play([episode], [sampled]))
    with RolloutFile(tmp_path / "out.jsonl", SETTINGS) as file:
        file.write(episode)
    (read,) = read_rollouts(tmp_path / "out.jsonl")
    assert (read.segments[-1].ids, read.segments[-1].log_probs) == ((3, 5), (-0.5, -1.5))
