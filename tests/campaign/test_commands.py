"""Commands that are killed at random moments: nothing is half-written, and a second start ends as the first
would have.

The commands run in processes that a server forks, which has the libraries already.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import TypeAlias

import pytest

from igpo_gym.agents.policies.scripted import ScriptedAgent
from igpo_gym.agents.rollouts.collect import collect_groups
from igpo_gym.agents.rollouts.records import write_episodes
from igpo_gym.config import EnvConfig
from igpo_gym.envs.setup import assemble
from tests.campaign.test_messages import Rounds

pytestmark = [pytest.mark.campaign, pytest.mark.skipif(sys.platform == "win32", reason="no such signal")]

Tree: TypeAlias = dict[str, bytes]
"""Files by their names within a folder."""

QUESTIONS = "world:test#documents=60,questions=12"
EXPORT = "export played.jsonl --out"
COMMANDS = {
    "relabel": "relabel played.jsonl --scorer none --reward f1 --reward evidence-recall --out out.jsonl",
    "relabel to records": "relabel played.jsonl --scorer none --reward f1 --records --out out.jsonl",
    "relabel by beliefs": "relabel played.jsonl --scorer nano --reward igpo --batch-size 8 --out out.jsonl",
    "import": "import played.jsonl --out out.jsonl",
    "sft": f"{EXPORT} out.jsonl --format sft --tokenizer nano",
    "dpo": f"{EXPORT} out.jsonl --format dpo",
    "kto": f"{EXPORT} out.jsonl --format kto",
    "verl": f"{EXPORT} out.parquet --format verl",
    "hf": f"{EXPORT} out --format hf",
    "minari": f"{EXPORT} out-v0 --format minari",
    "data prepare": "data prepare questions/questions.jsonl --format verl --validation-size 5 --out out",
    "world": "world --documents 200 --questions 100 --out out",
    "check scorer": f"check scorer nano --questions {QUESTIONS} --limit 2 --out out.json",
}
NEEDS = {"verl": "pyarrow", "hf": "datasets", "minari": "minari", "data prepare": "pyarrow"}
"""The library without which a command writes nothing."""
REPLACED = (".jsonl", ".parquet", ".json")
"""How what may stand at the place already is named; folders that hold something are refused."""

FORKED = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")
FORKED.set_forkserver_preload(
    [
        *("igpo_gym.cli.relabel", "igpo_gym.cli.transcripts", "igpo_gym.cli.export", "igpo_gym.cli.prepare"),
        *("igpo_gym.cli.check_scorer", "igpo_gym.benchmark.fit.run", "igpo_gym.cli.corpora", "transformers"),
        *("torch", "datasets", "pyarrow.parquet", "minari", "igpo_gym.scorers.local"),
        *("transformers.models.auto.tokenization_auto", "transformers.models.llama.modeling_llama"),
        *("transformers.generation.utils", "igpo_gym.rewards.relabel", "igpo_gym.data.training_files"),
        *("__main__", __name__),
    ]
)


def command(text: str, folder: Path) -> None:
    """Run a command in a folder, without a word."""
    os.chdir(folder)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    from igpo_gym.cli import app

    app(text.split())


def killed(seconds: float, text: str, folder: Path) -> bool:
    """Kill a command so many seconds after its start; whether it was still at work. It did not fail."""
    process = FORKED.Process(target=command, args=(text, folder))
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    assert process.exitcode in (0, -9)
    return process.exitcode == -9


def tree(folder: Path) -> Tree:
    """What is in a folder, but for how long something took."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: re.sub(rb'"seconds": [\d.e-]+', b"", path.read_bytes()) for name, path in found.items()}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recording of groups and a set of questions."""
    folder = tmp_path_factory.mktemp("inputs")
    config = EnvConfig(
        questions=QUESTIONS, scorer=None, reward="f1 + evidence-recall", protocol="tags-chat", max_turns=4
    )
    questions, engine = assemble(config)
    agent = ScriptedAgent("noisy", questions)
    groups = collect_groups(engine, agent, questions.questions, 4, 16)
    told = {"questions": QUESTIONS, "protocol": "tags-chat", "reward": engine.reward.name}
    episodes = [episode for group in groups for episode in group]
    write_episodes(folder / "played.jsonl", episodes, told, engine.reward)
    assert not killed(600, "world --documents 60 --questions 30 --out questions", folder)
    return folder


UNFINISHED = ".part"
"""What ends the names of files that a run goes on with; what is not gone on with lies in hidden folders."""


def attacked(name: str, draw: Random, folder: Path, seconds: float, expected: Tree) -> int:
    """Kill a command, at times over an older result, until it ends; returns how often it was killed."""
    text, kills = COMMANDS[name], 0
    place = folder / text.split()[text.split().index("--out") + 1]
    before = tree(folder)
    if place.name.endswith(REPLACED) and draw.random() < 0.5:
        place.write_bytes(b"old")
        before = tree(folder)
    while killed(draw.uniform(0, seconds) if kills < 3 else 600, text, folder):
        kills += 1
        seen = {path: held for path, held in tree(folder).items() if "/." not in f"/{path}"}
        part = {path for path in seen if path.endswith(UNFINISHED)}
        assert {path: seen[path] for path in seen.keys() - part} in (before, expected)
    assert tree(folder) == expected
    assert not [path for path in folder.rglob("*") if path.name.endswith(UNFINISHED) or path.name[0] == "."]
    return kills


def test_a_killed_command_is_started_again(rounds: Rounds, inputs: Path, tmp_path: Path) -> None:
    there = [name for name in COMMANDS if name not in NEEDS or find_spec(NEEDS[name])]
    whole: dict[str, tuple[float, Tree]] = {}
    for name in there:
        for warm in (False, True):
            folder = shutil.copytree(inputs, tmp_path / "whole")
            started = time.monotonic()
            assert not killed(600, COMMANDS[name], folder)
            if warm:
                assert tree(folder) == whole[name][1]
            whole[name] = time.monotonic() - started, tree(folder)
            shutil.rmtree(folder)
    kills = dict.fromkeys(there, 0)
    for draw in rounds():
        for name in there:
            folder = shutil.copytree(inputs, tmp_path / "killed")
            kills[name] += attacked(name, draw, folder, *whole[name])
            shutil.rmtree(folder)
    print("kills:", ", ".join(f"{name} {count}" for name, count in kills.items()))
