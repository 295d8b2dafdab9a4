"""Processes that are killed at random moments: the old thing is left or the new one, and work goes on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from igpo_gym.search.bm25 import BM25Index
from tests.agents.training.test_trainer import RUN, SMALL
from tests.campaign.test_messages import Rounds
from tests.search.bm25.test_folder import PASSAGES

pytestmark = [pytest.mark.campaign, pytest.mark.skipif(sys.platform == "win32", reason="no such signal")]

BUILD = """
import sys
from pathlib import Path
from igpo_gym.search.bm25 import BM25Index
from tests.search.bm25.test_folder import PASSAGES, drawn
sets = [drawn(400), PASSAGES]
print("ready", flush=True)
while True:
    for passages in sets:
        BM25Index.build_folder(passages, Path(sys.argv[1]))
"""
RECORD = """
import sys
from pathlib import Path
from igpo_gym.agents.policies.scripted import ScriptedAgent
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.rollouts.records import RolloutFile
from igpo_gym.config import EnvConfig
from igpo_gym.envs.setup import assemble
config = EnvConfig(questions="world#documents=60,questions=40", scorer=None, reward="outcome-f1")
questions, engine = assemble(config)
print("ready", flush=True)
with RolloutFile(Path(sys.argv[1]), {}) as file:
    left = [q for q in questions.questions if (q.id, 0) not in file.done]
    for question in left:
        for episode in collect(engine, ScriptedAgent("expert", questions), [question]):
            file.write(episode)
"""


def killed(seconds: float, program: str, *arguments: object) -> bool:
    """Kill a program so many seconds after it says that it is ready; whether it was still at work."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            return process.wait(seconds) != 0
        except subprocess.TimeoutExpired:
            process.kill()
            return True


def test_an_index_is_the_old_one_or_the_new_one(rounds: Rounds, tmp_path: Path) -> None:
    place = tmp_path / "index"
    BM25Index.build(PASSAGES).save(place)
    for draw in rounds():
        assert killed(draw.uniform(0, 0.5), BUILD, place)
        assert len(BM25Index.load(place)) in (len(PASSAGES), 400)
    BM25Index.build(PASSAGES).save(place)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_recording_goes_on_where_it_was(rounds: Rounds, tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    started = time.monotonic()
    assert not killed(600, RECORD, whole)
    most = min(2.0, time.monotonic() - started)
    expected = whole.read_bytes()
    for draw in rounds():
        path = tmp_path / "killed.jsonl"
        while killed(draw.uniform(0, most), RECORD, path):
            pass
        assert path.read_bytes() == expected
        path.unlink()


def test_a_training_goes_on_where_it_was(rounds: Rounds, tmp_path: Path) -> None:
    program = "print('ready', flush=True)\n" + RUN
    settings = {**SMALL, "reward": "igpo", "scorer": "policy", "learning_rate": 0.001, "updates": 3}
    arguments = json.dumps(settings), -1
    started = time.monotonic()
    assert not killed(600, program, tmp_path / "whole", *arguments)
    whole = time.monotonic() - started
    expected = (tmp_path / "whole" / "last" / "model.safetensors").read_bytes()
    for number, draw in enumerate(rounds()):
        out = tmp_path / str(number)
        for _ in range(2):
            killed(draw.uniform(0, whole), program, out, *arguments)
        assert not killed(600, program, out, *arguments)
        assert (out / "last" / "model.safetensors").read_bytes() == expected
        assert not list(out.glob(".*part")) + list(out.glob(".best-*")) + list(out.glob(".last-*"))
