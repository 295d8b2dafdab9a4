"""The yardstick of every adapter: scripted episodes as ``gym.make`` plays them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym

import igpo_gym  # noqa: F401
from igpo_gym.adapters.session import Sessions
from igpo_gym.agents.training.estimators import Turns, resolve_estimator
from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import Answer, ToolCalls
from igpo_gym.protocols import TextProtocol
from igpo_gym.rewards import split
from igpo_gym.search.bm25 import BM25Index
from igpo_gym.tools import search_call
from tests.conftest import PASSAGES, QUESTIONS, MentionScorer

Act = ToolCalls | Answer | str
"""An action, or the text of a message that is none."""

QUESTION = "q-birth"
INDEX = BM25Index.build(PASSAGES)

SCRIPTS: dict[str, tuple[Act, ...]] = {
    "answers": (
        search_call("Günter Grass writer"),
        search_call("The Tin Drum"),
        Answer("the port of Danzig"),
    ),
    "answers at once": (Answer("Gdańsk"),),
    "runs out of turns": (search_call("Vistula"), search_call("Odra"), search_call("Vistula")),
    "is malformed": ("I do not know.", search_call("no such thing"), Answer("Cologne")),
}
"""Episodes of at most three turns. A search for the Vistula finds a passage that forges tags."""


class Step(NamedTuple):
    """What a turn gave, in the terms that all libraries share."""

    body: str
    """The reply without its block's tags, which some libraries write themselves."""
    reward: float
    done: bool


Driver = Callable[[dict[str, Any], Sequence[Act]], tuple[list[dict[str, str]] | str, list[Step]]]
"""From settings and a script to the prompt (as messages, or one text) and the steps."""


def settings(protocol: TextProtocol, **changes: Any) -> dict[str, Any]:
    """The arguments of the environment under test: three turns, two passages, beliefs computed by hand."""
    questions = QuestionSet("tiny", QUESTIONS, PASSAGES)
    return {
        "questions": questions,
        "search": INDEX,
        "scorer": MentionScorer(),
        "reward": "igpo",
        "protocol": protocol,
        "max_turns": 3,
        "top_k": 2,
        **changes,
    }


def text(protocol: TextProtocol, act: Act, thought: str = "") -> str:
    """The message that does an action."""
    return act if isinstance(act, str) else protocol.write(act, thought)


def played(given: dict[str, Any], script: Sequence[Act]) -> tuple[list[dict[str, str]], list[Step]]:
    """The yardstick: the episode through ``gym.make``."""
    env = gym.make("SearchQA-v0", **given)
    protocol = given["protocol"]
    _, info = env.reset(options={"question_id": QUESTION})
    prompt, steps = info["messages"], []
    for act in script:
        observation, reward, terminated, truncated, _ = env.step(text(protocol, act))
        steps.append(Step(protocol.body(observation), float(reward), terminated or truncated))
    return prompt, steps


def trained(
    given: dict[str, Any], scripts: Sequence[Sequence[str]], estimator: str = "igpo-separate"
) -> list[list[float]]:
    """The yardstick of credit: each turn's advantage as the engine's split and the estimator give it, for
    attempts at one question that write these messages."""
    sessions, splits = Sessions(**given), []
    for script in scripts:
        env = sessions()
        env.reset(options={"question_id": QUESTION})
        for message in script:
            env.step(message)
        assert env.episode is not None
        splits.append(split(env.episode, sessions.engine.reward))
    turns = Turns.of(splits, ["q"] * len(splits))
    return [own.tolist() for own in turns.by_episode(resolve_estimator(estimator)(turns))]


ATTEMPTS = (
    ("<think>who?</think><search>Günter Grass writer</search>", "<answer>Danzig</answer>"),
    ("<search>Odra</search>", "I do not know.", "<answer>Cologne</answer>"),
    ("<search>The Tin Drum</search>", "<search>Günter Grass writer</search>", "<search>Vistula</search>"),
)
"""Messages of three attempts at the question: right, wrong after a malformed message, and out of turns."""
