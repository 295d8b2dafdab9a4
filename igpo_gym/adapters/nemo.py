"""NeMo Gym: the environment as a resources server in Gymnasium's form, for its ``gymnasium_agent``.

``examples/nemo_gym`` has the server's entry point, its configuration and a script for the rows. A step's
reward and ``info`` are those of :class:`SearchQAEnv`; the agent sums the rewards and keeps the last ``info``,
so that of the last turn tells the whole episode: ``turn_rewards``, ``beliefs``, ``turn_gains``, ``outcome``
and ``last_gain``. :func:`rollout_advantages` makes each turn's advantage of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from igpo_gym.adapters.session import Sessions, question_messages
from igpo_gym.adapters.tokens import episode_fields, read_split, turn_advantages
from igpo_gym.agents.training.estimators import DEFAULT, Estimator, Seed
from igpo_gym.data.scores import scores
from igpo_gym.envs.single import SearchQAEnv
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


class SearchQAServerConfig(BaseResourcesServerConfig):
    """NeMo Gym's configuration of a server, and the environment."""

    environment: dict[str, Any] = Field(default_factory=dict)
    """The arguments of :class:`SearchQAEnv`; the protocol is ``CHAT`` unless given."""


class SearchQAServer(GymnasiumServer):
    """An episode for each session; all sessions share questions, index and scorer.

    The agent's ``max_steps`` should be no less than the environment's turns, for it ends an episode without
    telling the environment. What a model server parses out of a message as reasoning is not scored.
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
        question_id = metadata.get("question_id")
        if not question_id:
            raise HTTPException(422, "the row names no question: rows are of igpo_gym.adapters.nemo.dataset")
        env = self._sessions()
        _, info = await asyncio.to_thread(env.reset, options={"question_id": question_id})
        self.session_state[session_id] = env
        return None, info

    async def step(
        self, action: NeMoGymResponse, metadata: dict[str, Any], session_id: str | None = None
    ) -> tuple[str | None, float, bool, bool, dict[str, Any]]:
        """Play the message; the last ``info`` tells the episode's split, rewards, beliefs and scores."""
        env: SearchQAEnv | None = self.session_state.get(session_id)
        if env is None or env.episode is None:
            raise HTTPException(409, "this session has no running episode: POST /reset first")
        said, episode = extract_text(action), env.episode
        observation, reward, terminated, truncated, info = await asyncio.to_thread(env.step, said)
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
