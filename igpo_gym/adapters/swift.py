"""ms-swift: an environment for its GRPO training, and a scheduler that keeps the turns apart.

``examples/swift_plugin.py`` is a plugin in a line, and writes the data set::

    python examples/swift_plugin.py --questions hotpotqa:train.json --out train.jsonl
    swift rlhf --rlhf_type grpo --external_plugins examples/swift_plugin.py --dataset train.jsonl \\
        --multi_turn_scheduler searchqa_igpo --use_gym_env true --max_turns 6 ...

Importing the module registers both under ``searchqa_igpo``. ms-swift trains on the sum of an episode; the
rewards of the turns, gains and outcome stand in its ``rollout_infos``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from igpo_gym.adapters.session import question_messages, refuse_credentials, shared_sessions
from igpo_gym.adapters.tokens import episode_fields
from igpo_gym.data.scores import scores
from igpo_gym.episode import EndReason, Episode
from igpo_gym.errors import SpecError
from igpo_gym.libraries import needs
from igpo_gym.protocols import CHAT

with needs("igpo_gym.adapters.swift", "swift", "swift"):
    from swift.rollout.gym_env import Env, envs
    from swift.rollout.multi_turn import GYMScheduler, multi_turns

ENVIRONMENT = "searchqa_igpo"


class SearchQA(Env):
    """One episode on the question of a row of :func:`dataset`.

    ``env_config`` is that of the row: the arguments of :class:`SearchQAEnv` beside the environment's
    ``name``. The protocol is ``CHAT`` unless given. Environments of equal settings share index and scorer.
    """

    def __init__(self, env_config: Mapping[str, Any]) -> None:
        super().__init__(env_config)
        settings = {name: value for name, value in env_config.items() if name != "name"}
        self._env = shared_sessions(**{"protocol": CHAT, **settings}).coroutine()

    @property
    def episode(self) -> Episode:
        """The episode that is played."""
        assert self._env.episode is not None, "the environment has not been reset"
        return self._env.episode

    async def reset(self, config: Any) -> tuple[str, dict[str, Any], str]:
        """Begin the episode; the prompt, ``info``, and the system message, which may be empty."""
        question_id = (config.data_dict or {}).get("question_id")
        if not question_id:
            raise SpecError("the row names no question: train on igpo_gym.adapters.swift.dataset(...)")
        _, info = await self._env.reset(options={"question_id": question_id})
        said = {message["role"]: message["content"] for message in self.episode.messages()}
        return said["user"], info, said.get("system", "")

    async def step(self, action: Sequence[Mapping[str, Any]]) -> tuple[str, float, bool, dict[str, Any]]:
        """Play the conversation's last message."""
        observation, reward, terminated, truncated, info = await self._env.step(action[-1]["content"])
        return observation, reward, terminated or truncated, info

    async def close(self) -> None:
        """Nothing: what is shared stays."""

    def cut(self) -> None:
        """End a running episode: its last played turn becomes the last one, and is priced as such."""
        if not self.episode.done:
            self._env.engine.end(self.episode, EndReason.TURNS_EXHAUSTED)

    def told(self) -> dict[str, Any]:
        """What ``rollout_infos`` says: the rewards so far; at the end split, beliefs and scores too."""
        episode, rewards = self.episode, self.episode.turn_rewards
        paid = {"total_reward": sum(rewards), "step_rewards": rewards, "gym_done": episode.done}
        ended = episode_fields(episode, self._env.engine.reward) | scores(episode) if episode.done else {}
        return paid | ended


class SearchQAScheduler(GYMScheduler):
    """ms-swift's scheduler for environments, which also tells gains and outcome, and prices its own limit.

    ms-swift drops the ``info`` of an environment, and ends an episode at ``max_turns`` without a word to it.
    """

    def __init__(self, infer_engine: Any = None, max_turns: int | None = None, **kwargs: Any) -> None:
        super().__init__(infer_engine, max_turns, **{**kwargs, "gym_env": ENVIRONMENT})

    async def on_turn_end(
        self, infer_request: Any, response_choice: Any, current_turn: int
    ) -> dict[str, Any]:
        """Play the message that was sampled."""
        env = self._envs.get(infer_request.uuid)
        result: dict[str, Any] = await super().on_turn_end(infer_request, response_choice, current_turn)
        if isinstance(env, SearchQA):
            if self.max_turns and current_turn >= self.max_turns:
                env.cut()
                await self._close_and_remove(infer_request.uuid)
            result = {"done": env.episode.done, "rollout_infos": env.told()}
        return result


def dataset(**settings: Any) -> list[dict[str, Any]]:
    """A row for every question, to be written as JSON lines for ``--dataset``.

    ``settings`` are the arguments of :class:`SearchQAEnv`, as texts and numbers; each row carries them.
    Raises SpecError for a URL with a password.
    """
    refuse_credentials(settings)
    config = {"name": ENVIRONMENT, **settings}
    return [
        {"messages": messages, "question_id": question.id, "env_config": config}
        for question, messages in question_messages(**{"protocol": CHAT, **settings})
    ]


envs[ENVIRONMENT] = SearchQA
multi_turns[ENVIRONMENT] = SearchQAScheduler
