"""NeMo Gym: the environment as a resources server in Gymnasium's form, for its ``gymnasium_agent``.

``examples/nemo_gym`` has the server's entry point, its configuration and a script for the rows. A step's
reward and ``info`` are those of :class:`SearchQAEnv`; the agent sums the rewards and keeps the last ``info``,
so that of the last turn tells the whole episode: ``turn_rewards``, ``beliefs``, ``turn_gains``, ``outcome``
and ``last_gain``. :func:`rollout_advantages` makes each turn's advantage of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from igpo_gym.adapters.session import Sessions, question_messages
from igpo_gym.adapters.tokens import episode_fields, read_split, turn_advantages
from igpo_gym.agents.training.estimators import DEFAULT, Estimator, Seed
from igpo_gym.data.scores import scores
from igpo_gym.envs.asynchronous import AsyncSearchQA
from igpo_gym.errors import SpecError
from igpo_gym.libraries import needs
from igpo_gym.protocols import CHAT

with needs("igpo_gym.adapters.nemo", "nemo", "fastapi", "nemo_gym", "pydantic", "resources_servers"):
    from fastapi import HTTPException
    from nemo_gym.base_resources_server import BaseResourcesServerConfig
    from nemo_gym.openai_utils import NeMoGymResponse
    from pydantic import Field
    from resources_servers.gymnasium import GymnasiumServer, extract_text

AGENT = "searchqa_igpo_agent"
"""The agent that rows ask for, as ``examples/nemo_gym`` names it."""
KEPT = 60.0
"""Seconds for which the end of an episode is kept, for who posts its last message again."""
IDLE = 4 * 3600.0
"""Seconds after which a session that nobody asks any more is forgotten. An episode that the agent cuts leaves
one, and so does a reset that is posted again before its cookie came."""

Stepped: TypeAlias = tuple[str | None, float, bool, bool, dict[str, Any]]


class SearchQAServerConfig(BaseResourcesServerConfig):
    """NeMo Gym's configuration of a server, and the environment."""

    environment: dict[str, Any] = Field(default_factory=dict)
    """The arguments of :class:`SearchQAEnv`; the protocol is ``CHAT`` unless given."""


@dataclass(slots=True)
class _Session:
    """A running episode, the model's latest response and what came of it."""

    env: AsyncSearchQA
    said: NeMoGymResponse | None = None
    answer: asyncio.Task[Stepped] | None = None
    asked: float = field(default_factory=time.monotonic)
    """When it was last asked for something."""

    @property
    def idle(self) -> bool:
        """Whether nobody has asked it for long, and nothing is played."""
        playing = self.answer is not None and not self.answer.done()
        return not playing and time.monotonic() - self.asked >= IDLE

    @property
    def failed(self) -> bool:
        """Whether the latest response could not be played, which changed nothing."""
        return self.answer is not None and self.answer.done() and self.answer.exception() is not None


class SearchQAServer(GymnasiumServer):
    """An episode for each session; all sessions share questions, index and scorer.

    The agent's ``max_steps`` should be no less than the environment's turns, for it ends an episode without
    telling the environment. What a model server parses out of a message as reasoning is not scored.

    NeMo Gym's client posts again when its connection breaks. A response that comes again (equal in its ids
    too, which a model server draws anew each time) is not played again: it gets the answer of the first time.
    A session that nobody has asked for :data:`IDLE` seconds is forgotten with the next reset.
    """

    config: SearchQAServerConfig

    def model_post_init(self, context: Any) -> None:
        """Load what the sessions share."""
        super().model_post_init(context)
        self._sessions = Sessions(**{"protocol": CHAT, **self.config.environment})

    async def reset(
        self, metadata: dict[str, Any], session_id: str | None = None
    ) -> tuple[str | None, dict[str, Any]]:
        """Begin the episode on the row's question; the row's input holds the prompt already."""
        for name in [name for name, each in self.session_state.items() if each.idle]:
            del self.session_state[name]
        question_id = metadata.get("question_id")
        if not question_id:
            raise HTTPException(422, "the row names no question: rows are of igpo_gym.adapters.nemo.dataset")
        env = self._sessions.coroutine()
        _, info = await env.reset(options={"question_id": question_id})
        self.session_state[session_id] = _Session(env)
        return None, info

    async def step(
        self, action: NeMoGymResponse, metadata: dict[str, Any], session_id: str | None = None
    ) -> Stepped:
        """Play the message; the last ``info`` tells the episode's split, rewards, beliefs and scores."""
        session: _Session | None = self.session_state.get(session_id)
        if session is None:
            raise HTTPException(409, "this session has no running episode: POST /reset first")
        session.asked = time.monotonic()
        if session.answer is None or session.said != action or session.failed:
            if session.answer is not None and not session.answer.done():
                raise HTTPException(409, "this session plays another message: wait for its answer")
            if session.env.episode is None or session.env.episode.done:
                raise HTTPException(409, "the episode of this session has ended: POST /reset first")
            session.said, session.answer = action, asyncio.create_task(_played(session.env, action))
        # What has begun goes on, whether or not the client that asked for it is still there.
        return await asyncio.shield(session.answer)

    async def close_session(self, session_id: str | None) -> None:
        """Forget a session that has ended, after :data:`KEPT` seconds."""
        ended = self.session_state.get(session_id)

        def forget() -> None:
            if self.session_state.get(session_id) is ended:
                self.session_state.pop(session_id, None)

        asyncio.get_running_loop().call_later(KEPT, forget)


async def _played(env: AsyncSearchQA, action: NeMoGymResponse) -> Stepped:
    """A step, as the server tells it."""
    observation, reward, terminated, truncated, info = await env.step(extract_text(action))
    episode = env.episode
    assert episode is not None
    if episode.done:
        info = {**info, **episode_fields(episode, env.engine.reward), **scores(episode)}
    return (None if episode.done else observation), reward, terminated, truncated, info


def dataset(**settings: Any) -> list[dict[str, Any]]:
    """A row for every question, to be written as JSON lines. It holds nothing of the gold answer.

    ``settings`` are the arguments of :class:`SearchQAEnv`; give those of the server's ``environment``.
    """
    return [
        {
            "responses_create_params": {"input": messages},
            "question_id": question.id,
            "agent_ref": {"type": "responses_api_agents", "name": AGENT},
        }
        for question, messages in question_messages(**{"protocol": CHAT, **settings})
    ]


def rollout_advantages(
    rollouts: Sequence[Mapping[str, Any]],
    estimator: str | Estimator = DEFAULT,
    gamma: float = 1.0,
    seed: Seed | None = None,
) -> list[list[float]]:
    """For each rollout of NeMo Gym (a row of its output) the advantage of each of its model responses.

    Rollouts on one question are a group. Raises SpecError as :func:`turn_advantages` does, and for a rollout
    that does not tell its split: the agent's ``max_steps`` cut it, or it is of another environment.
    """
    for rollout in rollouts:
        if "turn_gains" not in rollout.get("info", {}):
            raise SpecError(
                f"the rollout on {rollout.get('question_id')!r} tells no gains: its last turn was not played "
                "(max_steps of the agent must be no less than max_turns), or its environment is another"
            )
    values = turn_advantages(
        [read_split(rollout["info"]) for rollout in rollouts],
        [rollout["question_id"] for rollout in rollouts],
        estimator,
        gamma,
        seed,
    )
    return [own.tolist() for own in values]
