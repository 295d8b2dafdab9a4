"""verl: an agent loop that plays the environment, and advantage estimators over turns.

verl imports this module in each of its processes where ``VERL_USE_EXTERNAL_MODULES`` names it; the agent loop
``searchqa`` and the estimators of :data:`ESTIMATORS` are then known by name. ``examples/verl`` has the
configuration and the launch script.

verl's agent loops return one number an episode, which it writes on the last token. :class:`TurnRewards`
writes each turn's reward on the last token of the turn instead, so that ``token_level_rewards`` hold all of
them and any estimator can use them. This needs verl's v1 trainer (``trainer.use_v1``, the default); the
trainer before it sees their sum alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from igpo_gym.adapters.session import question_messages, shared_sessions
from igpo_gym.adapters.tokens import end_unfinished, reward_row, turn_rewards
from igpo_gym.agents.policies.messages import sampled_message
from igpo_gym.agents.rollouts.tokens import token_rows
from igpo_gym.agents.training.advantages import ADVANTAGES, Turns, per_token
from igpo_gym.data.metrics import exact_match, f1
from igpo_gym.episode import Episode
from igpo_gym.errors import MissingExtraError, SpecError
from igpo_gym.lm.framing import Framing
from igpo_gym.protocols import CHAT

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

ESTIMATORS = {
    "igpo": "igpo-joint",
    "igpo-separate": "igpo-separate",
    "mt-grpo": "mt-grpo",
    "rebn": "rebn",
    "a2tgpo": "a2tgpo",
}
"""verl's names (``algorithm.adv_estimator``) of our estimators. Those of outcomes alone verl has itself."""

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
        log_probs = np.where(tokens.mask, tokens.log_probs, 0.0)[span]
        prediction, answers = episode.prediction, episode.question.answers
        scores = {"em": exact_match(prediction, answers), "f1": f1(prediction, answers)}
        kept = {"reward_extra_info": scores, "turn_scores": rewards, "tool_rewards": []}
        return TurnRewards(
            prompt_ids=tokens.ids[:start].tolist(),
            response_ids=tokens.ids[span].tolist(),
            response_mask=tokens.mask[span].astype(int).tolist(),
            response_logprobs=None if np.isnan(log_probs).any() else log_probs.tolist(),
            token_rewards=reward_row(tokens, rewards, span).tolist(),
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
                self._framing, engine.protocol, output.token_ids, output.log_probs or None
            )
            with simple_timer("tool_calls", times):
                moves = await asyncio.to_thread(engine.play, [episode], [message])
                await asyncio.to_thread(engine.settle, moves)
        return versions


def stop_params(engine: str, stops: tuple[str, ...]) -> dict[str, Any]:
    """How an inference engine is told to stop behind a closing tag, and to keep the tag."""
    keep = {"vllm": {"include_stop_str_in_output": True}, "sglang": {"no_stop_trim": True}}
    return {"stop": list(stops), **keep[engine]} if engine in keep else {}


def turn_advantages(
    estimator: str,
    token_level_rewards: Tensor,
    response_mask: Tensor,
    index: np.ndarray[Any, Any],
    config: Any = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Advantages by one of our estimators, and the same as returns: both [batch, response], as verl's.

    A run of tokens with mask 1 is a turn, since the environment replies between two turns; its reward is what
    lies on its tokens. ``index`` are the groups; ``config.gamma`` is the discount per turn.
    """
    mask = response_mask.bool().cpu().numpy()
    starts = mask & ~np.pad(mask, ((0, 0), (1, 0)))[:, :-1]
    numbers = np.where(mask, starts.cumsum(1), 0)  # [batch, response]: the turn from 1, 0 on all else
    rewards = token_level_rewards.detach().double().cpu().numpy()
    # Rows that verl pads a batch with hold no turn: they must not count among the others.
    rows = np.flatnonzero(mask.any(1))
    spread = np.zeros(mask.shape)
    if len(rows):
        paid = [np.bincount(numbers[row], rewards[row])[1:].tolist() for row in rows]
        turns = Turns.of(paid, groups=list(index[rows]))
        values = ADVANTAGES[estimator](turns, gamma=1.0 if config is None else config.gamma)
        spread[rows] = per_token(turns, values, list(numbers[rows]))
    advantages = torch.as_tensor(spread, dtype=token_level_rewards.dtype, device=token_level_rewards.device)
    return advantages, advantages


def _register(name: str, estimator: str) -> None:
    def estimate(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        return turn_advantages(estimator, *args, **kwargs)

    register_adv_est(name)(estimate)


for _name, _estimator in ESTIMATORS.items():
    _register(_name, _estimator)


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
