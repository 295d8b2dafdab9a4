from functools import partial

import pytest

from igpo_gym.agents.policies.scripted import ScriptedAgent, noisy
from igpo_gym.data.world import load_world
from igpo_gym.search import BM25Index
from igpo_gym.tools import Search
from nano.playing import play_all
from nano.rows import Encoder
from nano.tokenizer import build_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return build_tokenizer(worlds=3)


@pytest.fixture(scope="session")
def encode(tokenizer):
    return Encoder(tokenizer)


@pytest.fixture(scope="session")
def episodes():
    world = load_world("validation", documents=100, questions=30)
    agent = ScriptedAgent(partial(noisy, rate=0.4), world)
    return play_all(agent, world.questions, [Search(BM25Index.build(world.passages), 2)])
