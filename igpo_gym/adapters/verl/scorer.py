"""The policy in training as the scorer: beliefs from the servers that roll it out.

verl's servers tell the log-probabilities of a prompt's tokens where a request asks for ``prompt_logprobs``,
with the weights that roll out. Their rows are shifted: row i is about token i + 1, each row is a list of one,
and a row that means nothing is appended. An aborted request has none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from verl.workers.rollout.llm_server import LLMServerClient

from igpo_gym.episode import Belief
from igpo_gym.errors import ScoringError
from igpo_gym.lm.framing import Framing
from igpo_gym.numbers import FLOOR, ROUNDING
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.prompts import Prompt, belief_of, check_lengths, length_of, query_of
from igpo_gym.scorers.remote import MAX_ALIASES

ENGINES = ("vllm", "sglang")
"""The rollout engines (``rollout.name``) that tell a prompt's log-probabilities."""

ATTEMPTS = 3
"""How often an episode's beliefs are asked for, until one version of the weights gives all of them."""

PAUSE = 1.0
"""Seconds between two attempts: those that verl's own client waits when a weight update has aborted it."""


class MixedWeightsError(ScoringError):
    """No version of the weights gave all beliefs of an episode: its gains cannot be had."""


class Scored(NamedTuple):
    """What a server says about a prompt."""

    log_probs: tuple[float, ...]
    """Of the tokens that were asked about, in nats."""
    weights: int | None
    """The version of the weights; None where verl tells none."""


Ask = Callable[[Sequence[int]], Awaitable[Any]]
"""From token ids to verl's ``TokenOutput`` of a request that asks about them."""


@dataclass(slots=True, eq=False)
class RolloutScorer:
    """Beliefs of the policy as it rolls out (an ``AnswerScorer``), for one episode.

    A call asks about all its requests at once, a prompt for each of the first ``max_aliases`` answers, and
    gives the beliefs of one version of the weights: where a weight update came between, all are asked
    again. ``score`` waits for ``loop``, which runs elsewhere: call it from another thread.
    """

    framing: Framing
    ask: Ask
    loop: asyncio.AbstractEventLoop
    longest: int | None = None
    """How many tokens the servers read, the one that they have to sample included; None: any number."""
    at_once: int = 64
    """How many requests are on their way at a time."""
    pause: float = PAUSE
    max_aliases: int = MAX_ALIASES
    weights: int | None = None
    """The version of the weights that gave the latest beliefs."""

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        """One belief per request, in order.

        Raises TranscriptTooLongError for requests longer than the servers read, MixedWeightsError where the
        weights changed at every attempt, and ScoringError for an answer that is about other tokens.
        """
        queries = [query_of(self.framing, request, self.max_aliases) for request in requests]
        prompts = [query.prompts for query in queries]
        answers = [query.answers for query in queries]
        if self.longest is not None:
            server = "a rollout server (actor_rollout_ref.rollout.max_model_len)"
            check_lengths([length_of(query) for query in queries], self.longest - 1, server)
        flat = [prompt for each in prompts for prompt in each]
        scored = iter(asyncio.run_coroutine_threadsafe(self._of_one_version(flat), self.loop).result())
        return [belief_of([next(scored).log_probs for _ in each], each) for each in answers]

    async def _of_one_version(self, prompts: Sequence[Prompt]) -> list[Scored]:
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(self.pause)
            gate = asyncio.Semaphore(self.at_once)
            scored = await asyncio.gather(*(self._scored(prompt, gate) for prompt in prompts))
            whole = [each for each in scored if each is not None]
            versions = {each.weights for each in whole}
            if len(whole) == len(prompts) and len(versions) <= 1:
                self.weights = next(iter(versions), None)
                return whole
        raise MixedWeightsError(
            f"the weights changed while an episode's beliefs were measured, {ATTEMPTS} times in a row"
        )

    async def _scored(self, prompt: Prompt, gate: asyncio.Semaphore) -> Scored | None:
        """What a server says about a prompt; None where it was aborted."""
        async with gate:
            output = await self.ask(prompt.ids)
        if is_aborted(output):
            return None
        fields = output.extra_fields
        return Scored(prompt_log_probs(fields, prompt), fields.get("global_steps"))


def is_aborted(output: Any) -> bool:
    """Whether a weight update, or whoever asked for it, ended a request before its answer was whole."""
    return output.stop_reason in ("aborted", "abort")


def policy_request(client: Any, request_id: str) -> Ask:
    """What asks ``client``, verl's own, about token ids with the policy's own distribution (temperature 1).

    All requests of an episode have its ``request_id``, so that they reach the server that played it.
    """
    # The asynchronous trainers' client goes on with other weights where an update aborts a request, and
    # drops what was asked about the prompt; the one that it is made from does neither.
    own = LLMServerClient.generate if isinstance(client, LLMServerClient) else type(client).generate

    async def ask(ids: Sequence[int]) -> Any:
        params = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "max_tokens": 1, "prompt_logprobs": 0}
        return await own(client, request_id, prompt_ids=list(ids), sampling_params=params)

    return ask


def prompt_log_probs(fields: Mapping[str, Any], prompt: Prompt) -> tuple[float, ...]:
    """The log-probabilities of the tokens asked about, from the ``extra_fields`` of a server's answer.

    Raises ScoringError for an answer that is not about the tokens that were sent, or tells what no
    log-probability is.

    >>> fields = {"prompt_ids": [[8], [9], [0]], "prompt_logprobs": [[-0.5], [-2.0], [0.0]]}
    >>> prompt_log_probs(fields, Prompt((7, 8, 9), 1))
    (-2.0,)
    """
    rows, ids = fields.get("prompt_logprobs"), fields.get("prompt_ids")
    if rows is None or ids is None:
        raise ScoringError(f"a rollout server tells no prompt_logprobs; those of {' and '.join(ENGINES)} do")
    told = [row[0] for row in ids[:-1]]
    if len(rows) != len(ids) or told != list(prompt.ids[1:]):
        raise ScoringError(
            f"a rollout server scored other tokens than the {len(prompt.ids)} that were sent: it tells of "
            f"{len(ids)} ids and {len(rows)} log-probabilities"
        )
    log_probs = [row[0] for row in rows[:-1]][-prompt.scored :]
    for value in log_probs:
        if not FLOOR < value <= ROUNDING:  # false for NaN, too
            raise ScoringError(f"a rollout server tells the log-probability {value!r}, which none can be")
    return tuple(min(float(value), 0.0) for value in log_probs)
