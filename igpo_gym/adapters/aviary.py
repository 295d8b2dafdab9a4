"""Aviary (``fhaviary``): the environment as an ``aviary`` Environment with the tools search and answer.

>>> from igpo_gym.adapters.aviary import SearchQADataset                     # doctest: +SKIP
>>> env = SearchQADataset(questions="world").get_new_env_by_idx(0)           # doctest: +SKIP
>>> messages, tools = await env.reset()                                      # doctest: +SKIP

The agent's tool calls are written in the text protocol ``NATIVE`` and played as one message: what it says
beside them is its thought, several searches are one with several queries, and a message that calls no tool,
or calls them wrongly, is what the protocol takes it for. A step that is canceled, as by a timeout, may have
been played: it drops the episode, and the environment must be reset.
"""

from __future__ import annotations

import random
from typing import Any

from igpo_gym.adapters.session import Sessions
from igpo_gym.envs.asynchronous import AsyncSearchQA
from igpo_gym.episode import Episode
from igpo_gym.libraries import needs
from igpo_gym.protocols import NATIVE, TextProtocol, native_message
from igpo_gym.protocols.native import ANSWER
from igpo_gym.text import neutralize

with needs("igpo_gym.adapters.aviary", "aviary", "aviary"):
    from aviary.core import Environment, Message, TaskDataset, Tool, ToolRequestMessage, ToolResponseMessage


class SearchQA(Environment[Episode]):
    """One question. ``state`` is the running :class:`Episode`, with the rewards of every turn."""

    def __init__(self, env: AsyncSearchQA, question_id: str) -> None:
        self._env = env
        self._question_id = question_id

    async def get_id(self) -> str:
        """The question's id."""
        return self._question_id

    async def reset(self) -> tuple[list[Message], list[Tool]]:
        """Begin the episode; the messages are the prompt."""
        await self._env.reset(options={"question_id": self._question_id})
        assert self._env.episode is not None
        self.state = self._env.episode
        tools = (*self._env.engine.protocol.tools, ANSWER)
        self.tools = [Tool(**tool.as_function()) for tool in tools]
        return [Message(**message) for message in self.state.messages()], self.tools

    async def step(self, action: Message) -> tuple[list[Message], float, bool, bool]:
        """Play one message; the first tool call carries the reply."""
        protocol = self._env.engine.protocol
        message = written(protocol, action)
        observation, reward, terminated, truncated, _ = await self._env.step(message)
        body = protocol.body(observation)
        calls = action.tool_calls if isinstance(action, ToolRequestMessage) else []
        replies: list[Message] = [
            ToolResponseMessage.from_call(call, content="" if place else body)
            for place, call in enumerate(calls)
        ]
        return replies or [Message(content=body)], reward, terminated or truncated, truncated


def written(protocol: TextProtocol, action: Message) -> str:
    """A message and its tool calls in the text protocol."""
    if not isinstance(action, ToolRequestMessage):
        return neutralize(action.content or "")
    calls = [(call.function.name, call.function.arguments) for call in action.tool_calls]
    return native_message(protocol, calls, action.content or "")


class SearchQADataset(TaskDataset[SearchQA]):
    """An environment for every question, all on one index and one scorer.

    ``settings`` are the arguments of :class:`SearchQAEnv`; the protocol is ``NATIVE`` unless given. ``seed``
    decides which questions :meth:`get_new_env` draws.
    """

    def __init__(self, seed: int | None = None, **settings: Any) -> None:
        self._sessions = Sessions(**{"protocol": NATIVE, **settings})
        self._random = random.Random(seed)

    def __len__(self) -> int:
        return len(self._sessions.questions.questions)

    def get_new_env_by_idx(self, idx: int) -> SearchQA:
        """The environment of the question at this place."""
        return SearchQA(self._sessions.coroutine(), self._sessions.questions.questions[idx].id)

    def get_new_env(self) -> SearchQA:
        """The environment of a question drawn at random."""
        return self.get_new_env_by_idx(self._random.randrange(len(self)))
