"""An episode that is recorded."""

from __future__ import annotations

from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Episode, Message
from tests.conftest import QUESTIONS

SETTINGS = {"agent": "x", "seed": 0}


def play(engine: Engine, question: int = 1, attempt: int = 0) -> Episode:
    (episode,) = engine.begin([QUESTIONS[question]], [attempt])
    engine.start([episode])
    search = "<search>Günter Grass</search><search>port</search>"
    sampled = Message("hm", (1, 2), (-0.25, -1.5), "v", ("h", "m"))
    for message in (search, sampled, "<answer>Danzig</answer>"):
        engine.settle(engine.play([episode], [message]))
    return episode
