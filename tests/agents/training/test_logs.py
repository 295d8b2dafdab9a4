from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from igpo_gym.agents.training.logs import json_lines, read_log, sinks
from igpo_gym.errors import DataError, MissingExtraError


def test_a_log_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write = json_lines(path, done=-1)
    for update in range(4):
        write({"update": update, "f1": update / 10})
    with path.open("a") as file:
        file.write('{"update": 4, "f')  # cut off by a crash
    assert [line["update"] for line in read_log(path)] == [0, 1, 2, 3]
    json_lines(path, done=1)({"update": 2, "f1": 0.9})
    assert read_log(path) == [{"update": 0, "f1": 0.0}, {"update": 1, "f1": 0.1}, {"update": 2, "f1": 0.9}]


def test_a_log_that_cannot_be_written_anew_stays(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    path = tmp_path / "log.jsonl"
    write = json_lines(path, done=-1)
    for update in range(50):
        write({"update": update})
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from igpo_gym.agents.training.logs import json_lines\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))  # as on a disk that is full\n"
        "json_lines(Path(sys.argv[1]), 49)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    assert "OSError" in ended.stderr
    assert [line["update"] for line in read_log(path)] == list(range(50))


def test_metrics_reach_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for write in sinks(tmp_path, {}, -1, wandb=False):
        write({"update": 3, "f1": 0.25})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("f1")] == [(3, 0.25)]


def test_a_missing_logger_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"igpo-gym\[wandb\]"):
        sinks(tmp_path, {}, -1, wandb=True)


@pytest.mark.parametrize("line", ["[1, 2]", '{"f1": 0.5}', '{"update": "two"}', "no JSON", "[" * 100_000])
def test_a_line_of_another_kind_is_named_with_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(f'{{"update": 0}}\n{line}\n{{"update": 1}}\n')
    with pytest.raises(DataError, match=r"log\.jsonl, line 2: no metrics of an update"):
        read_log(path)
    with pytest.raises(DataError, match="line 2"):
        json_lines(path, 1)
    assert path.read_text().endswith('{"update": 1}\n')
