from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any, TextIO

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

import igpo_gym  # noqa: F401
from igpo_gym.envs import SearchQAEnv, TranscriptObservation
from igpo_gym.episode import Question
from tests.conftest import QUESTIONS


@pytest.mark.parametrize("name", ["SearchQA-IGPO-v0", "SearchQA-Outcome-v0", "SearchQA-v0"])
def test_gymnasium_checks_it_without_a_warning(name: str, settings: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(name, **settings).unwrapped)


@pytest.mark.parametrize("name", ["SearchQA-IGPO-v0", "SearchQA-Outcome-v0", "SearchQA-v0"])
def test_after_a_first_reset_that_raised_it_is_as_if_it_had_not_been_called(
    name: str, settings: dict[str, Any]
) -> None:
    env, other = gym.make(name, **settings), gym.make(name, **settings)
    with pytest.raises(ValueError, match="no question has the id 'q-brith'"):
        env.reset(options={"question_id": "q-brith"})
    assert env.reset(seed=1)[0] == other.reset(seed=1)[0]
    assert env.step("<search>port</search>")[:4] == other.step("<search>port</search>")[:4]


def test_reset_shows_the_prompt_and_the_first_belief(settings: dict[str, Any]) -> None:
    env = gym.make("SearchQA-IGPO-v0", **settings)
    observation, info = env.reset(options={"question_id": "q-birth"})
    assert "Where was the author of The Tin Drum born?" in observation
    assert info["question_id"] == "q-birth"
    assert info["turn"] == 0
    assert info["belief"] == pytest.approx(0.1)
    assert info["messages"] == [{"role": "user", "content": observation}]
    assert "action" not in info


def test_step_pays_and_tells(settings: dict[str, Any]) -> None:
    env = gym.make("SearchQA-IGPO-v0", **settings)
    env.reset(options={"question_id": "q-birth"})
    message = "<think>who?</think><search>Günter Grass writer</search>"
    observation, reward, terminated, truncated, info = env.step(message)
    assert (terminated, truncated) == (False, False)
    assert "born in Danzig" in observation
    assert reward == pytest.approx(2 / 11 - 1 / 10)
    assert info["gain"] == pytest.approx(reward)
    assert info["reward_terms"] == pytest.approx({"gain": reward, "f1": 0.0, "format-penalty": 0.0})
    assert info["belief"] == pytest.approx(2 / 11)
    assert info["turn"] == 1
    assert (info["action"], info["tools"]) == ("tools", ("search",))
    assert info["valid"]
    assert info["queries"] == ("Günter Grass writer",)
    assert info["passage_ids"][0] == "grass"
    assert info["passage_titles"][0] == "Günter Grass"
    assert info["messages"][-1]["content"] == message + observation
    assert not info["failed"]
    assert "f1" not in info

    observation, reward, terminated, truncated, info = env.step("<answer>the port of Danzig</answer>")
    assert (observation, terminated, truncated) == ("", True, False)
    # Of the tokens port, of, danzig one is right, and it is all of the alias "Danzig".
    assert reward == pytest.approx(0.5)
    assert (info["em"], info["cover_em"], info["tool_turns"]) == (0.0, 1.0, 1)
    assert info["f1"] == pytest.approx(reward)
    assert info["prediction"] == "the port of Danzig"


def test_an_invalid_action_says_why(settings: dict[str, Any]) -> None:
    env = gym.make("SearchQA-IGPO-v0", **settings)
    env.reset(seed=0)
    observation, reward, _, _, info = env.step("I do not know")
    assert (info["action"], info["valid"]) == ("invalid", False)
    assert info["problem"] in observation
    assert reward == pytest.approx(-2.0)


def test_an_invalid_message_that_ends_the_episode_has_no_gain(settings: dict[str, Any]) -> None:
    env = gym.make("SearchQA-IGPO-v0", on_invalid="end", **settings)
    env.reset(seed=0)
    *_, terminated, truncated, info = env.step("hm")
    assert (terminated, truncated, info["gain"]) == (True, False, 0.0)


def test_gold_is_told_only_on_request(settings: dict[str, Any]) -> None:
    for oracle in (False, True):
        env = SearchQAEnv(**settings, oracle_info=oracle)
        observation, info = env.reset(options={"question_id": "q-writer"})
        assert "Böll" not in observation
        # Beliefs are numbers; everything else must not hold the answer in any form.
        assert ("Böll" in repr(info)) is oracle
        _, _, _, _, info = env.step("<search>river</search>")
        assert ("Böll" in repr(info)) is oracle
        if oracle:
            assert info["gold"] == {"answers": ("Heinrich Böll",), "evidence": ("böll",)}


def test_the_seed_decides_the_questions(settings: dict[str, Any]) -> None:
    def drawn(seed: int) -> list[str]:
        env = SearchQAEnv(**settings)
        ids = [env.reset(seed=seed)[1]["question_id"]]
        return ids + [env.reset()[1]["question_id"] for _ in range(20)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert set(drawn(1)) == {question.id for question in QUESTIONS}


def test_without_a_seed_resets_go_on_through_the_stream(settings: dict[str, Any]) -> None:
    env = SearchQAEnv(**settings)
    ids = [env.reset()[1]["question_id"] for _ in range(30)]
    env.reset(seed=env.np_random_seed)
    assert [env.reset()[1]["question_id"] for _ in range(29)] == ids[1:]


def test_a_group_of_episodes_shares_its_question(settings: dict[str, Any]) -> None:
    env = SearchQAEnv(**settings, group_size=3)
    ids = [env.reset(seed=5)[1]["question_id"]] + [env.reset()[1]["question_id"] for _ in range(29)]
    assert all(len(set(ids[start : start + 3])) == 1 for start in range(0, 30, 3))
    assert len(set(ids)) > 1


@pytest.mark.parametrize("unwrap", [False, True])
def test_stepping_at_the_wrong_time_needs_a_reset(settings: dict[str, Any], unwrap: bool) -> None:
    env = gym.make("SearchQA-IGPO-v0", **settings)
    env = env.unwrapped if unwrap else env
    with pytest.raises(ResetNeeded):
        env.step("<answer>x</answer>")
    env.reset(seed=0)
    env.step("<answer>x</answer>")
    with pytest.raises(ResetNeeded):
        env.step("<answer>x</answer>")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": "ipgo"}, r"unknown reward 'ipgo'; did you mean igpo\? Choose one of: document-gain, em"),
        ({"protocol": "xml"}, "unknown protocol 'xml'; choose one of: igpo"),
        ({"render_mode": "rgb"}, "unknown render_mode 'rgb'; choose one of: ansi, human"),
        ({"group_size": 0}, "group_size must be a whole number of at least 1"),
        ({"max_turns": 0}, "max_turns must be a whole number of at least 1, not 0"),
        ({"max_turns": 2.5}, "max_turns must be a whole number"),
        ({"scorer": None}, "needs a scorer"),
        ({"scorer": 5}, r"5 is no scorer: it has no score\(requests\); or give one of: "),
        ({"reward": None}, "a reward is a text or a RewardFunction, not None"),
        ({"protocol": None}, r"None is no protocol: it has no parse\(message\); or give one of: igpo"),
        (
            {"questions": [Question("x", "Who?", ("A",))], "reward": "f1 + evidence-recall"},
            "'x' of .* names none",
        ),
    ],
)
def test_wrong_settings_are_explained(settings: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SearchQAEnv(**{**settings, **change})


def test_a_wrong_option_is_explained(settings: dict[str, Any]) -> None:
    env = SearchQAEnv(**settings)
    question = r"unknown reset option 'question'; did you mean question_id\? Choose one of: question_id"
    with pytest.raises(ValueError, match=question):
        env.reset(options={"question": "q-river"})
    with pytest.raises(TypeError, match="a question_id is a text"):
        env.reset(options={"question_id": ["q-river"]})


def test_a_reset_that_fails_changes_nothing(settings: dict[str, Any]) -> None:
    env, twin = SearchQAEnv(**settings), SearchQAEnv(**settings)
    env.reset(seed=3)
    twin.reset(seed=3)
    with pytest.raises(ValueError, match="no question"):
        env.reset(seed=50, options={"question_id": "nope"})
    assert [env.reset()[1]["question_id"] for _ in range(20)] == [
        twin.reset()[1]["question_id"] for _ in range(20)
    ]


def test_a_generator_that_is_set_decides_the_questions(settings: dict[str, Any]) -> None:
    def drawn() -> list[str]:
        env = SearchQAEnv(**settings)
        env.np_random = np.random.default_rng(1)
        return [env.reset()[1]["question_id"] for _ in range(20)]

    assert drawn() == drawn()
    assert len(set(drawn())) > 1


def test_a_wrapped_environment_can_be_made_again_from_its_spec() -> None:
    questions = "world#documents=60,questions=10"
    env = TranscriptObservation(gym.make("SearchQA-Outcome-v0", questions=questions))
    assert env.spec is not None
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.reset(seed=1)[0] == env.reset(seed=1)[0]
    assert again.step("<search>river</search>")[0] == env.step("<search>river</search>")[0]


def test_a_wrong_question_id_is_explained(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no question has the id 'q-7'.*'q-author'"):
        SearchQAEnv(**settings).reset(options={"question_id": "q-7"})


def test_an_action_that_is_no_string_changes_nothing(settings: dict[str, Any]) -> None:
    env = SearchQAEnv(**settings)
    env.reset(seed=0)
    with pytest.raises(TypeError, match="an action is a string"):
        env.step(7)  # type: ignore[arg-type]
    assert env.step("<answer>x</answer>")[4]["turn"] == 1


def closed_stream() -> TextIO:
    stream = io.StringIO()
    stream.close()
    return stream


def ascii_stream() -> TextIO:
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii")


def broken_pipe() -> TextIO:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError("nobody reads")

    return Broken()


@pytest.mark.parametrize("stream", [closed_stream, ascii_stream, broken_pipe])
def test_a_terminal_that_cannot_show_the_step_loses_nothing_of_it(
    settings: dict[str, Any],
    stream: Callable[[], TextIO],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    env = gym.make("SearchQA-IGPO-v0", **settings, render_mode="human")
    monkeypatch.setattr("sys.stdout", stream())
    env.reset(options={"question_id": "q-birth"})
    _, reward, terminated, *_ = env.step("<answer>Gdańsk</answer>")
    assert (reward, terminated) == (1.0, True)
    assert "the episode cannot be shown" in caplog.text


def test_render_modes(settings: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    env = gym.make("SearchQA-IGPO-v0", **settings, render_mode="ansi")
    env.reset(options={"question_id": "q-birth"})
    env.step("<search>Günter Grass writer</search>")
    text = str(env.render())
    assert "Günter Grass writer" in text
    assert "0.182" in text
    assert "█" in text
    assert capsys.readouterr().out == ""

    env = gym.make("SearchQA-IGPO-v0", **settings, render_mode="human")
    env.reset(options={"question_id": "q-birth"})
    assert "Where was the author" in capsys.readouterr().out
    env.step("<search>Günter Grass writer</search>")
    printed = capsys.readouterr().out
    assert "born in Danzig" in printed
    assert "Where was the author" not in printed
