from __future__ import annotations

import re

import gymnasium as gym
import numpy as np

from igpo_gym.envs.engine import Engine
from igpo_gym.envs.render import ansi
from igpo_gym.episode import Question
from tests.conftest import QUESTIONS


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_the_dialogue_shows_turns_rewards_and_beliefs(engine: Engine) -> None:
    (episode,) = engine.begin([QUESTIONS[1]])
    engine.start([episode])
    for message in ("<search>Günter Grass writer</search>", "[bold]hm", "<answer>Danzig</answer>"):
        engine.settle(engine.play([episode], [message]))
    text = plain(ansi(episode))
    assert [f"turn {number}" in text for number in (1, 2, 3, 4)] == [True, True, True, False]
    assert "[bold]hm" in text
    assert "belief " in text
    assert "0.182 (+0.082)" in text
    assert "reward +1.000 (gain +0.000, f1 +1.000, format-penalty +0.000)" in text
    assert text.count("belief ") == 3


def test_an_episode_without_beliefs_has_no_bars(engine: Engine) -> None:
    (episode,) = engine.begin([QUESTIONS[0]])
    assert "belief" not in ansi(episode)


def test_a_turn_that_the_scorer_could_not_read_has_no_gain(engine: Engine) -> None:
    (episode,) = engine.begin([QUESTIONS[1]])
    engine.start([episode])
    for message in ("<search>Günter Grass writer</search>", "hm"):
        engine.settle(engine.play([episode], [message]))
    episode.extra["unread"] = [1]
    text = plain(ansi(episode, 140))
    assert "0.182 (of the turn before: the scorer could not read this one)" in text
    assert text.count("(+0.000)") == 1  # of the second


def test_control_characters_do_not_reach_the_terminal(engine: Engine) -> None:
    (episode,) = engine.begin([Question("1", "Who\x1b]0;title\x07?", ("A",))])
    engine.start([episode])
    engine.settle(engine.play([episode], ["\x1b[2Jhm\x9b2J\r"]))
    text = plain(ansi(episode))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    assert "�[2Jhm�2J" in text


def test_an_image_has_one_size_and_shows_what_is_new() -> None:
    env = gym.make("SearchQA-Outcome-v0", render_mode="rgb_array")
    env.reset(seed=0)
    first = env.render()
    env.step("<search>river</search>")
    second = env.render()
    assert isinstance(first, np.ndarray)
    assert isinstance(second, np.ndarray)
    assert first.shape == second.shape == (738, 857, 3)
    assert first.dtype == np.uint8
    assert (first != second).any()
    envs = gym.make_vec("SearchQA-Outcome-v0", num_envs=2, render_mode="rgb_array")
    envs.reset(seed=0)
    assert [frame.shape for frame in envs.render()] == [(738, 857, 3)] * 2  # type: ignore[union-attr]
