from __future__ import annotations

import dataclasses

import pytest

from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Episode
from igpo_gym.protocols import PROTOCOLS, Answer, Search
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.scorers.trajectory import score_trajectories, trajectory_requests
from tests.conftest import QUESTIONS
from tests.scorers.tiny import CHATML, make_model, make_tokenizer


def play(engine: Engine, question: int, *queries: str, answer: bool) -> Episode:
    (episode,) = engine.begin([QUESTIONS[question]])
    engine.settle([], [episode])
    messages = [engine.protocol.write(Search((query,)), "hm") for query in queries]
    for message in [*messages, *([engine.protocol.write(Answer("x"))] if answer else [])]:
        engine.settle(engine.play([episode], [message]))
    return episode


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_beliefs_are_those_of_the_steps(engine: Engine, protocol: str) -> None:
    tokenizer = make_tokenizer(CHATML)
    step_by_step = TransformersScorer(make_model("llama"), tokenizer)
    engine = dataclasses.replace(engine, scorer=step_by_step, protocol=PROTOCOLS[protocol])
    episodes = [
        play(engine, 1, "Tin Drum", "Günter Grass", answer=True),
        play(engine, 2, "river", "Odra", "Vistula", answer=False),
        play(engine, 0, answer=True),
    ]
    at_once = TransformersScorer(make_model("llama"), tokenizer)
    beliefs = score_trajectories(at_once, episodes)
    for episode, trajectory in zip(episodes, beliefs, strict=True):
        assert len(trajectory) == len(episode.beliefs)
        for got, expected in zip(trajectory, episode.beliefs, strict=True):
            assert got.log_probs == pytest.approx(expected.log_probs, abs=1e-5)
    stats = at_once.stats
    assert stats.tokens_forwarded == stats.tokens_minimum == step_by_step.stats.tokens_minimum


def test_an_answer_asks_for_nothing(engine: Engine) -> None:
    episode = play(engine, 1, "Tin Drum", answer=True)
    contexts = [request.segments for request in trajectory_requests(episode)]
    assert contexts == [tuple(episode.segments[:1]), tuple(episode.segments[:3])]
