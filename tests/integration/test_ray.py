"""``examples/ray_relabel.py`` on a local Ray: the same numbers as one process gives, in the same order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from igpo_gym.agents.policies.scripted import ScriptedAgent
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.rollouts.records import RolloutFile, read_rollouts
from igpo_gym.config import EnvConfig
from igpo_gym.envs.setup import assemble
from igpo_gym.rewards.relabel import relabel
from tests.conftest import REPOSITORY

pytest.importorskip("ray.data", reason="ray is not installed")


@pytest.mark.slow
def test_two_workers_give_the_numbers_of_one_process(tmp_path: Path) -> None:
    questions, engine = assemble(EnvConfig(questions="world:test", scorer=None, reward="outcome-f1"))
    recorded, out = tmp_path / "noisy.jsonl", tmp_path / "priced.jsonl"
    with RolloutFile(recorded, {}) as file:
        for episode in collect(engine, ScriptedAgent("noisy", questions), questions.questions[:12]):
            file.write(episode)
    command = [sys.executable, str(REPOSITORY / "examples" / "ray_relabel.py"), str(recorded), str(out)]
    command += ["--reward", "igpo", "--scorer", "nano", "--workers", "2", "--batch-size", "2"]
    subprocess.run(command, check=True, timeout=600, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    expected = list(relabel(read_rollouts(recorded), ["igpo"], "nano"))
    assert [line["question_id"] for line in lines] == [each.episode.question.id for each in expected]
    for line, each in zip(lines, expected, strict=True):
        assert line["rewards"]["igpo"]["turns"] == [
            pytest.approx(terms, abs=1e-5) for terms in each.rewards["igpo"]
        ]
