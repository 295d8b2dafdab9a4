"""SkyRL (``skyrl-gym``): the environment as a ``BaseTextEnv``.

>>> import skyrl_gym, igpo_gym.adapters.skyrl                                # doctest: +SKIP
>>> env = skyrl_gym.make("searchqa_igpo", env_config={}, extras={"question_id": "..."})  # doctest: +SKIP

Importing the module registers the environment. SkyRL keeps the reward of every step, so nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from igpo_gym.adapters.session import question_messages, shared_sessions
from igpo_gym.data.scores import METRICS, scores
from igpo_gym.episode import EndReason
from igpo_gym.errors import SpecError
from igpo_gym.libraries import needs
from igpo_gym.protocols import CHAT

with needs("igpo_gym.adapters.skyrl", "skyrl", "skyrl_gym"):
    import skyrl_gym
    from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput

ENVIRONMENT = "searchqa_igpo"


class SearchQA(BaseTextEnv):
    """One episode on one question.

    Args:
        env_config: the arguments of :class:`SearchQAEnv` (in SkyRL: ``environment.skyrl_gym.searchqa_igpo``);
            environments of equal settings share their questions, index and scorer. The protocol is ``CHAT``
            unless given; with ``use_conversation_multi_turn=false``, where SkyRL appends replies to the
            agent's own message, it should be ``"tags"``.
        extras: the fields of the data set's row. ``question_id`` chooses the question; ``max_turns``, where
            it is given (SkyRL sets it to ``generator.max_turns``), bounds this episode.

    Raises SpecError for a row without a question, and ValueError, from ``init``, for one that the settings'
    questions do not have.
    """

    def __init__(
        self, env_config: Mapping[str, Any] | None = None, extras: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self._env = shared_sessions(**{"protocol": CHAT, **dict(env_config or {})})()
        row = extras or {}
        if not row.get("question_id"):
            raise SpecError(
                "the row names no question: train on igpo_gym.adapters.skyrl.dataset(...), made with the "
                f"settings of environment.skyrl_gym.{ENVIRONMENT}"
            )
        turns = row.get("max_turns")
        self._options = {
            "question_id": row["question_id"],
            "max_turns": None if turns is None else int(turns),
        }
        self._info: dict[str, Any] = {}
        rules = self._env.engine.rules
        self.max_turns = (replace(rules, max_turns=int(turns)) if turns else rules).last_turn

    def init(self, prompt: list[dict[str, str]]) -> tuple[list[dict[str, str]], dict[str, Any]]:
        """Begin the episode. The messages are the environment's own, whatever ``prompt`` says."""
        _, self._info = self._env.reset(options=self._options)
        self.turns = 0
        assert self._env.episode is not None
        return self._env.episode.messages(), self._info

    def step(self, action: str) -> BaseTextEnvStepOutput:
        """Play one message; the reply is a user message, and there is none after an answer."""
        observation, reward, terminated, truncated, self._info = self._env.step(action)
        self.turns += 1
        done = terminated or truncated
        return BaseTextEnvStepOutput(
            observations=[] if done else [{"role": "user", "content": observation}],
            reward=reward,
            done=done,
            metadata=self._info,
        )

    def get_metrics(self) -> dict[str, Any]:
        """What SkyRL averages over episodes, and asks for when it plays one no further.

        An episode that has not ended then was cut at SkyRL's own limit of tokens, which it tells nobody: its
        context is exhausted, and its scores are those of no answer.
        """
        episode = self._env.episode
        if episode is None:
            return {}
        scored = scores(episode)
        return {
            **{name: scored[name] for name in METRICS},
            "tool_turns": episode.tool_turns,
            "context_exhausted": float(not episode.done or episode.end is EndReason.CONTEXT_EXHAUSTED),
        }


def dataset(**env_config: Any) -> list[dict[str, Any]]:
    """A row for every question, with the columns that SkyRL's prompt data set and this environment read.

    ``datasets.Dataset.from_list(dataset(...)).to_parquet("train.parquet")`` writes what ``data.train_data``
    names.
    """
    return [
        {
            "data_source": question.source or "searchqa",
            "prompt": messages,
            "env_class": ENVIRONMENT,
            "question_id": question.id,
        }
        for question, messages in question_messages(**{"protocol": CHAT, **env_config})
    ]


skyrl_gym.register(ENVIRONMENT, "igpo_gym.adapters.skyrl:SearchQA")
