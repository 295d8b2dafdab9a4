"""The checkpoints that ship: what they are, and that they read. Figures: benchmarks/nano.py."""

from pathlib import Path

import pytest

import igpo_gym
from igpo_gym.agents.policies.scripted import ScriptedAgent
from igpo_gym.data.world import load_world
from igpo_gym.protocols import TAGS
from igpo_gym.scorers import resolve_scorer
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.search import BM25Index
from igpo_gym.tools import Search
from nano.playing import play_all
from nano.tokenizer import build_tokenizer

MODELS = Path(igpo_gym.__file__).parent / "models"
NAMES = ("nano", "nano-base")


def test_the_models_are_under_20_megabytes():
    size = sum(file.stat().st_size for name in NAMES for file in (MODELS / name).rglob("*"))
    assert size < 20e6


@pytest.mark.parametrize("name", NAMES)
def test_they_load_with_transformers_and_nothing_of_ours(name):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(MODELS / name)
    tokenizer = AutoTokenizer.from_pretrained(MODELS / name)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert tokenizer("Name it.")["input_ids"][0] == tokenizer.bos_token_id == model.config.bos_token_id
    assert tokenizer.eos_token_id == model.config.eos_token_id
    assert {path.name for path in (MODELS / name).iterdir()} >= {"README.md", "model.safetensors"}


@pytest.mark.slow
def test_the_packaged_tokenizer_is_the_one_that_the_code_builds():
    built = build_tokenizer().to_str(pretty=True)
    for name in NAMES:
        assert (MODELS / name / "tokenizer.json").read_text() == built


def test_nano_reads_worlds_it_never_saw():
    world = load_world("validation", seed=9, questions=24, hops=1)
    episodes = play_all(
        ScriptedAgent("expert", world), world.questions, [Search(BM25Index.build(world.passages), 3)]
    )
    bridges = [e for e in episodes if "/bridge-" in e.question.id and e.terminated]
    before, after = (
        resolve_scorer("nano").score(
            [BeliefRequest(e.context(turn(e)), e.question.answers, TAGS.probe) for e in bridges]
        )
        for turn in (lambda e: 0, lambda e: len(e.turns) - 1)
    )
    assert sum(belief.prob for belief in before) / len(bridges) < 0.1
    assert sum(belief.prob for belief in after) / len(bridges) > 0.6
