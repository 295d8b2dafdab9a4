"""What is played takes no memory when it is over, however many episodes there are."""

from __future__ import annotations

import gc
from collections.abc import Callable
from itertools import cycle, islice

import pytest

from igpo_gym.agents.policies.scripted import ScriptedAgent
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.config import EnvConfig
from igpo_gym.data import QuestionSet
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.setup import assemble
from igpo_gym.envs.single import SearchQAEnv
from igpo_gym.scorers.local import TransformersScorer

WORLD = "world#documents=60,questions=20"


def collected(questions: QuestionSet, engine: Engine) -> Callable[[int], None]:
    agent, left = ScriptedAgent("noisy", questions), cycle(questions.questions)

    def play(episodes: int) -> None:
        for _ in collect(engine, agent, list(islice(left, episodes))):
            pass

    return play


def stepped(config: EnvConfig) -> Callable[[int], None]:
    env = SearchQAEnv(config)
    env.reset(seed=3)

    def play(episodes: int) -> None:
        for number in range(episodes):
            env.reset()
            ended = False
            while not ended:
                *_, terminated, truncated, _ = env.step(f"<search>word {number % 40}</search>")
                ended = terminated or truncated

    return play


def held(play: Callable[[int], None], episodes: int) -> int:
    """How many objects there are after so many episodes more."""
    play(episodes)
    gc.collect()
    return len(gc.get_objects())


@pytest.mark.slow
@pytest.mark.parametrize("way", ["collected", "stepped"])
def test_five_thousand_episodes_leave_nothing(way: str) -> None:
    config = EnvConfig(questions=WORLD, scorer=None, reward="outcome-f1")
    play = collected(*assemble(config)) if way == "collected" else stepped(config)
    before = held(play, 1000)
    assert held(play, 4000) - before < 50


@pytest.mark.slow
def test_a_scorer_with_a_small_cache_holds_no_more_after_three_hundred_episodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("igpo_gym.scorers.local.HISTORY_TOKENS", 1 << 13)  # full after some twenty episodes
    scorer = TransformersScorer.load("nano", device="cpu", cache_bytes=2 << 20)
    questions, engine = assemble(EnvConfig(questions=WORLD, scorer=scorer, reward="igpo"))
    play = collected(questions, engine)
    before = held(play, 100)
    assert held(play, 200) - before < 100
    assert scorer.stats.cache_bytes <= 2 << 20
