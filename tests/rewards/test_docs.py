"""What docs/rewards.md shows works, and its tables are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from igpo_gym.agents.policies.scripted import ScriptedAgent
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.rollouts.records import RolloutFile
from igpo_gym.config import EnvConfig
from igpo_gym.envs.setup import assemble
from igpo_gym.rewards import PRESETS, TERMS
from igpo_gym.rewards.terms import parameters
from igpo_gym.specs import unregister
from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "docs" / "rewards.md").read_text(encoding="utf-8")


def test_all_terms_presets_and_parameters_are_listed() -> None:
    listed = {name for row in re.findall(r"^\| (`.*?) \|", TEXT, re.M) for name in re.findall("`(.*?)`", row)}
    assert listed == {*TERMS, *PRESETS, *(key for name in TERMS for key in parameters(name))}


def test_the_listed_sums_are_those_of_the_presets() -> None:
    for name, spec in re.findall(r"^\| `([a-z-]+)` \| `(.*? - 2\*format-penalty)` \|$", TEXT, re.M):
        weights = {term.name: weight for weight, term in PRESETS[name].terms}
        written = " ".join(f"{weight:+g}*{term}" for term, weight in weights.items())
        assert written.replace("1*", "").replace("+", "+ ").replace("-2*", "- 2*").removeprefix("+ ") == spec


def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    question_set, engine = assemble(EnvConfig(scorer=None, reward="outcome-f1"))
    with RolloutFile(tmp_path / "noisy.jsonl", {}) as file:
        for episode in collect(engine, ScriptedAgent("noisy", question_set), question_set.questions[:2]):
            file.write(episode)
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    assert len(blocks) == 6
    for block in blocks:
        exec(compile(block, "docs/rewards.md", "exec"), {})
    unregister("term", "few-thoughts")
