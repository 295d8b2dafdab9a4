"""A rollout function: the batch's episodes in a text protocol, sampled by the trainer's engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from igpo_gym.adapters.tokens import end_unfinished
from igpo_gym.adapters.trl.policy import PolicyScorer, with_policy
from igpo_gym.adapters.trl.records import Records
from igpo_gym.adapters.trl.rows import attempts, columns, question_id
from igpo_gym.agents.policies.messages import sampled_message
from igpo_gym.agents.rollouts.tokens import TokenRow, token_rows
from igpo_gym.config import make_config
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.questions import QuestionBook
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import Episode
from igpo_gym.lm.framing import Framing
from igpo_gym.protocols import CHAT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import GRPOTrainer


class Rollouts:
    """A ``rollout_func``: plays the batch's episodes together, sampled by whatever engine the trainer has.

    One step is one generation call and one search call; beliefs are asked once, in one call, when all
    episodes have ended, of the weights that played them (``scorer="policy"``) or of a model of your choice.
    Transcripts are never rendered or tokenized twice: what the policy sampled is what is scored and trained
    on. Beside what TRL needs it returns for each episode ``turn_gains``, ``outcome`` and ``last_gain`` (its
    split, see :func:`igpo_gym.rewards.split.split`), ``turn_rewards`` (as the environment paid them),
    ``token_turns`` (for each token of the completion, the number of the agent's turn from 1, and 0 on what
    the environment wrote), and the scores ``em``, ``f1`` and ``cover_em``.

    How a message is sampled is said in ``GRPOConfig``. ``generation_kwargs`` should bound a message's length
    and stop it at a closing tag: for vLLM ``{"max_tokens": 256, "stop": ["</search>", "</answer>"],
    "include_stop_str_in_output": True}``, for transformers ``{"max_new_tokens": 256}`` (what is sampled
    after a closing tag is cut off). An episode that has filled ``max_completion_length`` ends as one whose
    context is exhausted.

    ``records`` is a folder for the episodes as records (see :mod:`igpo_gym.adapters.trl.records`); by
    default there are none. ``settings`` are the arguments of :class:`SearchQAEnv`; the protocol is ``CHAT``
    unless given. The data set must be that of :func:`dataset`. Raises SpecError for prompts that are not.
    """

    def __init__(self, *, records: str | Path | None = None, **settings: Any) -> None:
        config = make_config(None, with_policy({"protocol": CHAT, **settings}))
        questions, engine = assemble(config)
        self.questions = QuestionBook(questions)
        self.engine: Engine = replace(engine, measure="end")
        """The rules that the episodes are played by."""
        self.records = None if records is None else Records(records)
        self.episodes: list[Episode] = []
        """Those of the latest batch, with beliefs and rewards."""
        self._framing: tuple[Any, Framing] | None = None

    def __call__(self, prompts: list[list[dict[str, str]]], trainer: GRPOTrainer) -> dict[str, Any]:
        """Play an episode for each prompt."""
        engine, framing = self.engine, self._frame(trainer.processing_class)
        self.bind(trainer)
        questions = [self.questions.find(question_id(prompt)) for prompt in prompts]
        episodes = self.episodes = engine.begin(questions, attempts(questions))
        starts = [len(framing.ids(episode.segments)) for episode in episodes]
        room, weights = trainer.max_completion_length, str(trainer.state.global_step)

        while running := [
            episode
            for episode, start in zip(episodes, starts, strict=True)
            if not episode.done and len(framing.ids(episode.segments)) < start + room
        ]:
            contexts = [list(framing.ids(episode.segments)) for episode in running]
            sampled, log_probs = trainer._generate_single_turn(contexts, None, {}, num_generations=1)
            messages = [
                sampled_message(framing, engine.protocol, ids, own, weights=weights)
                for ids, own in zip(sampled, log_probs or [None] * len(sampled), strict=True)
            ]
            engine.settle(engine.play(running, messages))
        end_unfinished(engine, episodes)
        engine.price(episodes)
        if self.records is not None:
            self.records.keep(episodes, engine, trainer)

        rows = [token_rows(episode, framing) for episode in episodes]
        spans = [slice(start, start + room) for start in starts]
        completions = list(zip(rows, spans, strict=True))
        return {
            "prompt_ids": [row.ids[: span.start].tolist() for row, span in completions],
            "completion_ids": [row.ids[span].tolist() for row, span in completions],
            "logprobs": _log_probs(completions),
            "env_mask": [row.mask[span].astype(int).tolist() for row, span in completions],
            "token_turns": [row.turn[span].tolist() for row, span in completions],
            **columns(episodes, engine.reward),
        }

    def bind(self, trainer: GRPOTrainer) -> None:
        """Let the scorer be the model that this trainer trains, where the settings say so."""
        if isinstance(self.engine.scorer, PolicyScorer):
            self.engine.scorer.bind(trainer)

    def _frame(self, tokenizer: PreTrainedTokenizerBase) -> Framing:
        if self._framing is None or self._framing[0] is not tokenizer:
            self._framing = tokenizer, Framing(tokenizer)
        return self._framing[1]


def _log_probs(completions: Sequence[tuple[TokenRow, slice]]) -> list[list[float]] | None:
    """Those of the agent's tokens, and 0 on all others; None where the engine told none."""
    if any(np.isnan(row.log_probs[row.mask]).any() for row, _ in completions):
        return None
    return [np.where(row.mask, row.log_probs, 0.0)[span].tolist() for row, span in completions]
