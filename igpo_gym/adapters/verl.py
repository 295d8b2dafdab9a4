"""verl: an agent loop that plays the environment, and advantage estimators over turns.

verl imports this module in each of its processes where ``VERL_USE_EXTERNAL_MODULES`` names it; the agent loop
``searchqa`` and the estimators of :data:`ESTIMATORS` are then known by name. ``examples/verl`` has the
configuration and the launch script.

verl's agent loops return one number an episode, which it writes on the last token. :class:`TurnRewards`
writes each turn's gain on the first token of the turn and the outcome on the last token of all instead, so
that ``token_level_rewards`` hold them apart and any estimator can use them. This needs verl's v1 trainer
(``trainer.use_v1``, the default); the trainer before it sees their sum alone. verl keeps rewards in float32,
and does not say whether the last turn has a gain: each estimator is registered as NAME, and as NAME-last for
rewards that pay one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from igpo_gym.adapters.session import question_messages, shared_sessions
from igpo_gym.adapters.tokens import (
    end_unfinished,
    placed_rewards,
    row_advantages,
    turn_rewards,
)
from igpo_gym.agents.policies.messages import sampled_message
from igpo_gym.agents.rollouts.tokens import token_rows
from igpo_gym.agents.training.estimators import ESTIMATORS, Estimator, check_reward, resolve_estimator
from igpo_gym.data.scores import METRICS, scores
from igpo_gym.episode import Episode
from igpo_gym.errors import MissingExtraError, SpecError
from igpo_gym.lm.framing import Framing
from igpo_gym.protocols import CHAT
from igpo_gym.rewards import RewardFunction, split

try:
    import torch
    from verl.experimental.agent_loop import AgentLoopBase, AgentLoopOutput
    from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, register
    from verl.trainer.ppo.core_algos import register_adv_est
    from verl.utils.profiler import simple_timer
except ModuleNotFoundError as missing:
    raise MissingExtraError("igpo_gym.adapters.verl", "verl") from missing

if TYPE_CHECKING:
    from torch import Tensor

AGENT = "searchqa"
"""The agent loop's name: for ``rollout.agent.default_agent_loop``, and in the rows of :func:`dataset`."""

LAST = "-last"
"""What an estimator's name ends with, where the reward pays the last turn a gain."""

logger = logging.getLogger(__name__)

framing = lru_cache(maxsize=4)(Framing)
"""The framing of a tokenizer, made once a process: an agent loop is made for every episode."""


class TurnRewards(AgentLoopOutput):
    """The output of an agent loop with a reward on every token."""

    token_rewards: list[float]

    def as_dict(self) -> dict[str, Any]:
        """verl's tensors, with ``rm_scores`` of the shape [response] from ``token_rewards``."""
        output: dict[str, Any] = super().as_dict()
        output["rm_scores"] = torch.tensor(output.pop("token_rewards"), dtype=torch.float32)
        return output


@register(AGENT)
class SearchAgentLoop(AgentLoopBase):
    """Plays one episode on the question that the row names.

    The transcript's ids are those that the scorer reads: segments tokenized one by one, the sampled ids as
    they are. ``settings`` are the arguments of :class:`SearchQAEnv`, as texts and numbers, in the file that
    ``actor_rollout_ref.rollout.agent.agent_loop_config_path`` names; the protocol is ``CHAT`` unless given.
    Episodes in one worker share index and scorer, and beliefs that are asked for at the same time are
    computed together. ``max_message_tokens`` bounds a message.

    An episode whose row does not show its turns (a message without a token, say) is aborted: the log names
    it, and nothing of it is learned. Raises SpecError for an ``algorithm`` that does not fit the reward, see
    :func:`check_algorithm`.
    """

    def __init__(
        self,
        *args: Any,
        settings: Mapping[str, Any] | None = None,
        max_message_tokens: int = 512,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._sessions = shared_sessions(**{"protocol": CHAT, **dict(settings or {})})
        check_algorithm(self.config.get("algorithm"), self._sessions.engine.reward)
        self._framing = framing(self.tokenizer)
        self._max_message_tokens = max_message_tokens

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> TurnRewards:
        """Play the episode. Raises SpecError where the prompt is longer than verl's rows have room for."""
        engine = self._sessions.engine
        (episode,) = engine.begin([self._sessions.questions.find(row["extra_info"]["question_id"])])
        start, room = len(self._framing.ids(episode.segments)), self.rollout_config.prompt_length
        if start > room:
            raise SpecError(f"a prompt has {start} tokens, but data.max_prompt_length is {room}")
        await asyncio.to_thread(engine.start, [episode])
        span = slice(start, start + self.rollout_config.response_length)
        times: dict[str, float] = {}
        versions = await self._play(episode, sampling_params, span.stop, times)
        await asyncio.to_thread(end_unfinished, engine, [episode])

        tokens, rewards = token_rows(episode, self._framing), turn_rewards(episode)
        mask, placed = tokens.mask[span], np.zeros(len(tokens.ids[span]), dtype=np.float32)
        log_probs = np.where(mask, tokens.log_probs[span], 0.0)
        try:
            placed = placed_rewards(mask, split(episode, engine.reward), episode.question.id)
        except ValueError as problem:
            logger.warning("an episode is aborted: %s", problem)
            mask = np.zeros_like(mask)
        scored = scores(episode)  # verl wants the same names of every episode
        own = {name: scored[name] for name in METRICS}
        kept = {"reward_extra_info": own, "turn_scores": rewards, "tool_rewards": []}
        return TurnRewards(
            prompt_ids=tokens.ids[:start].tolist(),
            response_ids=tokens.ids[span].tolist(),
            response_mask=mask.astype(int).tolist(),
            response_logprobs=None if np.isnan(log_probs).any() else log_probs.tolist(),
            token_rewards=placed.tolist(),
            reward_score=sum(rewards),
            num_turns=2 * len(episode.turns),
            metrics=AgentLoopMetrics(**times),
            extra_fields={**versions, **kept},
        )

    async def _play(
        self, episode: Episode, sampling_params: dict[str, Any], limit: int, times: dict[str, float]
    ) -> dict[str, Any]:
        """Play turns until the end, or until ``limit`` tokens; returns what the inference server tells.

        A turn is a call to the inference server, one to the index and one to the scorer.
        """
        engine, request_id = self._sessions.engine, uuid4().hex
        params = {**sampling_params, **stop_params(self.rollout_config.name, engine.protocol.stops)}
        versions: dict[str, Any] = {}
        while not episode.done and len(ids := self._framing.ids(episode.segments)) < limit:
            room = {"max_tokens": min(self._max_message_tokens, limit - len(ids))}
            with simple_timer("generate_sequences", times):
                output = await self.server_manager.generate(
                    request_id=request_id, prompt_ids=list(ids), sampling_params={**params, **room}
                )
            # The oldest version of the weights is the first turn's, the newest the last turn's.
            newest = {
                name: value for name, value in output.extra_fields.items() if name == "max_global_steps"
            }
            versions = {**output.extra_fields, **versions, **newest}
            message = sampled_message(
                self._framing,
                engine.protocol,
                output.token_ids,
                output.log_probs or None,
                weights=str(output.extra_fields.get("max_global_steps", "")),
            )
            with simple_timer("tool_calls", times):
                moves = await asyncio.to_thread(engine.play, [episode], [message])
                await asyncio.to_thread(engine.settle, moves)
        return versions


def stop_params(engine: str, stops: tuple[str, ...]) -> dict[str, Any]:
    """How an inference engine is told to stop behind a closing tag, and to keep the tag."""
    keep = {"vllm": {"include_stop_str_in_output": True}, "sglang": {"no_stop_trim": True}}
    return {"stop": list(stops), **keep[engine]} if engine in keep else {}


def check_algorithm(algorithm: Any, reward: RewardFunction) -> None:
    """Raise SpecError for verl settings (``algorithm``, if they can be seen) that do not fit the reward.

    A KL penalty in the reward would lie on the tokens that carry gains; an estimator NAME is for rewards
    that pay the last turn no gain, NAME-last for those that do.
    """
    if algorithm is None:
        return
    if algorithm.get("use_kl_in_reward", False):
        raise SpecError(
            "algorithm.use_kl_in_reward writes a penalty onto the tokens that carry the turns' gains: set it "
            "to False, and actor_rollout_ref.actor.use_kl_loss to True"
        )
    spec = str(algorithm.get("adv_estimator", ""))
    name = spec.removesuffix(LAST)
    if name in REGISTERED:
        check_reward(resolve_estimator(name), reward)
        fitting = name + LAST * reward.last_gain
        if spec != fitting:
            pays = "pays" if reward.last_gain else "does not pay"
            raise SpecError(
                f"the reward {reward.name!r} {pays} the last turn a gain: set algorithm.adv_estimator to "
                f"{fitting}, not {spec}"
            )


def turn_advantages(
    estimator: Estimator,
    last_gain: bool,
    token_level_rewards: Tensor,
    response_mask: Tensor,
    index: np.ndarray[Any, Any],
    config: Any = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Advantages by one of our estimators, and the same as returns: both [batch, response], as verl's.

    ``index`` are the groups; ``config.gamma`` is the discount per turn.
    """
    spread = row_advantages(
        estimator,
        response_mask.bool().cpu().numpy(),
        token_level_rewards.detach().double().cpu().numpy(),
        list(index),
        last_gain,
        gamma=1.0 if config is None else config.gamma,
    )
    advantages = torch.as_tensor(spread, dtype=token_level_rewards.dtype, device=token_level_rewards.device)
    return advantages, advantages


def _register(name: str, last_gain: bool) -> None:
    estimator = resolve_estimator(name)

    def estimate(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        return turn_advantages(estimator, last_gain, *args, **kwargs)

    register_adv_est(name + LAST * last_gain)(estimate)


REGISTERED = tuple(
    name for name in ESTIMATORS if (made := resolve_estimator(name)).uses_gains and not made.needs_states
)
"""The estimators that verl knows by these names (``algorithm.adv_estimator``), and with ``-last``. Those of
outcomes alone verl has itself, and it tells no states."""

for _name in REGISTERED:
    for _last_gain in (False, True):
        _register(_name, _last_gain)


def dataset(**settings: Any) -> list[dict[str, Any]]:
    """A row for every question, with the columns that verl's ``RLHFDataset`` and the agent loop read.

    ``settings`` are the arguments of :class:`SearchQAEnv`.
    """
    return [
        {
            "data_source": question.source or "searchqa",
            "agent_name": AGENT,
            "prompt": messages,
            "reward_model": {"style": "environment", "ground_truth": ""},
            "extra_info": {"index": place, "question_id": question.id},
        }
        for place, (question, messages) in enumerate(question_messages(**{"protocol": CHAT, **settings}))
    ]
