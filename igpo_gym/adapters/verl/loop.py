"""The agent loop: plays one episode with verl's inference servers, and hands its turns' rewards over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

import numpy as np
import torch
from verl.experimental.agent_loop import AgentLoopBase, AgentLoopOutput
from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, register
from verl.utils.profiler import simple_timer

from igpo_gym.adapters.session import Sessions, shared_sessions
from igpo_gym.adapters.tokens import end_unfinished, placed_rewards
from igpo_gym.adapters.verl.estimators import check_algorithm
from igpo_gym.adapters.verl.metrics import answer_metrics
from igpo_gym.adapters.verl.published import loop_settings
from igpo_gym.adapters.verl.records import recorder
from igpo_gym.adapters.verl.rows import AGENT, asked
from igpo_gym.adapters.verl.scorer import (
    ENGINES,
    PAUSE,
    MixedWeightsError,
    RolloutScorer,
    is_aborted,
    policy_request,
)
from igpo_gym.agents.policies.messages import sampled_message
from igpo_gym.agents.rollouts.tokens import token_rows
from igpo_gym.batching import Batches
from igpo_gym.envs.asynchronous import MAX_WAIT, Ask, Steps, answered, steps_of
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Belief, EndReason, Episode
from igpo_gym.errors import ScoringError, SpecError
from igpo_gym.lm.framing import Framing
from igpo_gym.rewards import split
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.remote import MAX_ALIASES

logger = logging.getLogger(__name__)

T = TypeVar("T")

framing = lru_cache(maxsize=4)(Framing)
"""The framing of a tokenizer, made once a process: an agent loop is made for every episode."""

_THREADS = ThreadPoolExecutor(256, "igpo_gym-episode")
"""Where episodes wait for the policy's beliefs and for records: a worker plays more of them than asyncio has
threads."""

POLICY = "policy"
"""As ``scorer``: the policy in training, through the servers that roll it out."""


class _Playing:
    """Stands for the policy as the scorer where settings are resolved; each episode has its own."""

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        raise ScoringError("the policy in training scores the episodes of its own agent loop alone")


_PLAYING = _Playing()


class LoopArguments(NamedTuple):
    """What the arguments of an agent loop mean."""

    sessions: Sessions
    engine: Engine
    """The sessions' rules, with beliefs asked at the end."""
    steps: Steps
    """Joins the steps of the episodes that are played at the same time."""
    prices: Batches[Episode, float]
    """Joins what they ask for at their ends, where the scorer is not the policy."""
    by_policy: bool
    """Whether the policy in training is the scorer."""
    message_tokens: int
    """How long a message is at most, where the loop does not say so."""

    @property
    def scorer(self) -> str | None:
        """How the settings name a scorer that the sessions do not hold."""
        return POLICY if self.by_policy else None


def environment_of(recipe: str | None, settings: Mapping[str, Any]) -> LoopArguments:
    """The environment of an agent loop's arguments: the same again for equal ones."""
    chosen, tokens = loop_settings(recipe, settings)
    by_policy = chosen.get("scorer") == POLICY
    sessions = shared_sessions(**{**chosen, **({"scorer": _PLAYING} if by_policy else {})})
    return LoopArguments(sessions, *_batched(sessions), by_policy, tokens)


@lru_cache(maxsize=8)
def _batched(sessions: Sessions) -> tuple[Engine, Steps, Batches[Episode, float]]:
    engine = replace(sessions.engine, measure="end")
    return engine, steps_of(engine), Batches(engine.price, wait=MAX_WAIT, name="igpo_gym-prices")


class TurnRewards(AgentLoopOutput):
    """The output of an agent loop with a reward on every token."""

    token_rewards: list[float]

    def as_dict(self) -> dict[str, Any]:
        """verl's tensors, with ``rm_scores`` of the shape [response] from ``token_rewards``."""
        output: dict[str, Any] = super().as_dict()
        output["rm_scores"] = torch.tensor(output.pop("token_rewards"), dtype=torch.float32)
        return output


@dataclass(slots=True)
class Course:
    """How an episode went at the inference servers."""

    request: str = field(default_factory=lambda: uuid4().hex)
    """The id of all its requests: those of one id reach one server."""
    times: dict[str, float] = field(default_factory=dict)
    """Seconds by the names of verl's ``AgentLoopMetrics``."""
    told: dict[str, Any] = field(default_factory=dict)
    """What the servers told beside the tokens, for verl."""
    versions: set[int] = field(default_factory=set)
    """The versions of the weights that sampled and scored."""

    def heard(self, fields: Mapping[str, Any]) -> None:
        """Take what a server told with a message: of versions the oldest and the newest stay."""
        newest = {name: value for name, value in fields.items() if name == "max_global_steps"}
        self.told = {**fields, **self.told, **newest}
        for name in ("min_global_steps", "max_global_steps"):
            self.saw(fields.get(name))

    def saw(self, version: int | None) -> None:
        """Take note of a version of the weights, if verl tells one."""
        if version is not None:
            self.versions.add(version)


@register(AGENT)
class SearchAgentLoop(AgentLoopBase):
    """Plays one episode on the question that the row asks.

    The transcript's ids are those that the scorer reads: segments tokenized one by one, the sampled ids as
    they are. Beliefs are asked once the episode has ended, for all its states. Episodes in one worker share
    the index and a scorer that is not the policy. The arguments stand in the file that
    ``actor_rollout_ref.rollout.agent.agent_loop_config_path`` names:

    Args:
        recipe: published settings (:data:`igpo_gym.agents.training.recipes.RECIPES`), or none.
        settings: arguments of :class:`SearchQAEnv`, as texts and numbers, before those of the recipe; the
            protocol is ``CHAT`` unless one of them says another. ``scorer: policy`` is the policy in
            training.
        max_message_tokens: bounds a message; by default the recipe's, or 512.
        max_aliases: how many of a question's answers the policy is asked about, in the data set's order.
        accuracy: the metric of answers that verl's validation calls ``acc``, its core metric.
        records: a folder to which each worker writes its episodes, as ``igpo-gym rollout`` does.

    An episode whose row does not show its turns (a message without a token, say), that verl aborts, or whose
    beliefs no single version of the weights gives, is aborted: the log names it, and nothing of it is
    learned. Raises SpecError for an ``algorithm`` that does not fit the reward, see :func:`check_algorithm`.
    """

    def __init__(
        self,
        *args: Any,
        recipe: str | None = None,
        settings: Mapping[str, Any] | None = None,
        max_message_tokens: int | None = None,
        max_aliases: int = MAX_ALIASES,
        accuracy: str = "em",
        records: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._played = environment_of(recipe, settings or {})
        if self._played.by_policy and self.rollout_config.name not in ENGINES:
            raise SpecError(
                "scorer: policy needs a rollout engine that tells a prompt's log-probabilities "
                f"({', '.join(ENGINES)}), not {self.rollout_config.name}"
            )
        self._sessions = self._played.sessions
        check_algorithm(self.config.get("algorithm"), self._sessions.engine.reward)
        self._framing = framing(self.tokenizer)
        self._max_message_tokens = max_message_tokens or self._played.message_tokens
        self._max_aliases = max_aliases
        self._accuracy = accuracy
        self._records = recorder(records, self._sessions, self._played.scorer) if records else None

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> TurnRewards:
        """Play the episode. Raises SpecError where the prompt is longer than verl's rows have room for."""
        course = Course()
        scorer = self._scorer(course)
        engine = self._played.engine if scorer is None else replace(self._played.engine, scorer=scorer)
        attempt = int(row.get("session_id", 0))
        (episode,) = engine.begin([asked(row, self._sessions.questions)], [attempt])
        start, room = len(self._framing.ids(episode.segments)), self.rollout_config.prompt_length
        if start > room:
            raise SpecError(f"a prompt has {start} tokens, but data.max_prompt_length is {room}")
        span = slice(start, start + self.rollout_config.response_length)
        await self._play(engine, episode, sampling_params, span.stop, course)
        end_unfinished(engine, [episode])
        with simple_timer("compute_score", course.times):
            await self._price(engine, episode)
        if scorer is not None:
            course.saw(scorer.weights)
        if self._records is not None:
            episode.extra["mixed_weights"] = len(course.versions) > 1
            episode.extra["step"] = int(row.get("global_steps", -1))
            await _apart(self._records.write, episode)
        return self._output(engine, episode, span, course)

    def _scorer(self, course: Course) -> RolloutScorer | None:
        """The policy as the scorer of one episode, where that is what the settings say."""
        if not self._played.by_policy:
            return None
        # Under full determinism a request's id is that of the engine's, where no two may share one.
        at_once = {"at_once": 1} if self.rollout_config.get("full_determinism", False) else {}
        return RolloutScorer(
            self._framing,
            policy_request(self.server_manager, course.request),
            asyncio.get_running_loop(),
            longest=self.rollout_config.get("max_model_len"),
            pause=PAUSE,
            max_aliases=self._max_aliases,
            **at_once,
        )

    async def _play(
        self, engine: Engine, episode: Episode, sampling_params: dict[str, Any], limit: int, course: Course
    ) -> None:
        """Play turns until the end, or until ``limit`` tokens.

        A turn is a call to the inference server and one to the tools.
        """
        params = {**sampling_params, **stop_params(self.rollout_config.name, engine.protocol.stops)}
        while not episode.done and len(ids := self._framing.ids(episode.segments)) < limit:
            room = {"max_tokens": min(self._max_message_tokens, limit - len(ids))}
            with simple_timer("generate_sequences", course.times):
                output = await self.server_manager.generate(
                    request_id=course.request, prompt_ids=list(ids), sampling_params={**params, **room}
                )
            course.heard(output.extra_fields)
            if is_aborted(output):
                engine.end(episode, EndReason.ABORTED)
                return
            weights = output.extra_fields.get("max_global_steps")
            message = sampled_message(
                self._framing,
                engine.protocol,
                output.token_ids,
                output.log_probs or None,
                weights="" if weights is None else str(weights),
            )
            with simple_timer("tool_calls", course.times):
                await answered(self._played.steps.place([Ask(episode, message)]))

    async def _price(self, engine: Engine, episode: Episode) -> None:
        """Ask for all beliefs of an ended episode and price its turns; an aborted one is paid nothing."""
        if episode.end is not EndReason.ABORTED:
            try:
                if self._played.by_policy:  # it answers through this loop, so it is waited for elsewhere
                    await _apart(engine.price, [episode])
                else:
                    await answered(self._played.prices.place([episode]))
                return
            except MixedWeightsError as problem:
                logger.warning("the episode on %r is aborted: %s", episode.question.id, problem)
                episode.end = EndReason.ABORTED
        episode.rewards = [{} for _ in episode.turns]

    def _output(self, engine: Engine, episode: Episode, span: slice, course: Course) -> TurnRewards:
        tokens, rewards = token_rows(episode, self._framing), episode.turn_rewards
        mask, placed = tokens.mask[span], np.zeros(len(tokens.ids[span]), dtype=np.float32)
        log_probs = np.where(mask, tokens.log_probs[span], 0.0)
        try:
            placed = placed_rewards(mask, split(episode, engine.reward), episode.question.id)
        except ValueError as problem:
            logger.warning("an episode is aborted: %s", problem)
            mask = np.zeros_like(mask)
        own = answer_metrics(episode, self._accuracy, engine.judge is not None)
        own["mixed_weights"] = float(len(course.versions) > 1)
        kept = {"reward_extra_info": own, "turn_scores": rewards, "tool_rewards": []}
        return TurnRewards(
            prompt_ids=tokens.ids[: span.start].tolist(),
            response_ids=tokens.ids[span].tolist(),
            response_mask=mask.astype(int).tolist(),
            response_logprobs=None if np.isnan(log_probs).any() else log_probs.tolist(),
            token_rewards=placed.tolist(),
            reward_score=sum(rewards),
            num_turns=2 * len(episode.turns),
            metrics=AgentLoopMetrics(**course.times),
            extra_fields={**course.told, **kept},
        )


async def _apart(call: Callable[..., T], *arguments: Any) -> T:
    """What a call that waits gives, in a thread of its own."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, call, *arguments)


def stop_params(engine: str, stops: tuple[str, ...]) -> dict[str, Any]:
    """How an inference engine is told to stop behind a closing tag, and to keep the tag."""
    keep = {"vllm": {"include_stop_str_in_output": True}, "sglang": {"no_stop_trim": True}}
    return {"stop": list(stops), **keep[engine]} if engine in keep else {}
