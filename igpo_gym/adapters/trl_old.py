"""TRL: two ways into ``GRPOTrainer``.

As tools, with TRL's own tool calls and one reward an episode, the sum of its turns'::

    trainer = GRPOTrainer(
        model="Qwen/Qwen3-4B",
        args=GRPOConfig(max_tool_calling_iterations=6),
        train_dataset=dataset(protocol=NATIVE, questions="hotpotqa:train.json"),
        environment_factory=environment_factory(questions="hotpotqa:train.json", scorer="nano"),
    )

As a rollout function, with an advantage of its own for every turn::

    trainer = TurnGRPOTrainer(
        model="Qwen/Qwen3-4B",
        args=GRPOConfig(generation_kwargs={"max_tokens": 256}),
        train_dataset=dataset(questions="hotpotqa:train.json"),
        rollout_func=Rollouts(questions="hotpotqa:train.json", scorer="nano"),
        reward_funcs=episode_reward,
        estimator="igpo-separate",
    )
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from igpo_gym.adapters.session import Sessions, question_messages
from igpo_gym.adapters.tokens import (
    end_unfinished,
    read_split,
    split_fields,
    turn_rewards,
)
from igpo_gym.agents.policies.messages import sampled_message
from igpo_gym.agents.rollouts.tokens import TokenRow, token_rows
from igpo_gym.agents.training.estimators import (
    DEFAULT,
    Estimator,
    Turns,
    check_reward,
    collapse_rate,
    per_token,
    resolve_estimator,
)
from igpo_gym.data.scores import METRICS, scores
from igpo_gym.envs.single import SearchQAEnv
from igpo_gym.episode import EndReason
from igpo_gym.errors import MissingExtraError, SpecError
from igpo_gym.lm.framing import Framing
from igpo_gym.protocols import CHAT, NATIVE, native_message
from igpo_gym.rewards import RewardFunction, split

try:
    import torch
    from accelerate.utils import gather_object
    from datasets import Dataset
    from trl import GRPOTrainer
except ModuleNotFoundError as missing:
    raise MissingExtraError("igpo_gym.adapters.trl", "trl") from missing

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def dataset(**settings: Any) -> Dataset:
    """A row for every question: the prompt as messages, and the question's id beside it and in each of them.

    ``settings`` are the arguments of :class:`SearchQAEnv`; give the protocol that the rollouts have
    (``CHAT`` for :class:`Rollouts`, which is the default here too, ``NATIVE`` for the tools).
    """
    return Dataset.from_list(
        [
            {
                "prompt": [{**message, "question_id": question.id} for message in messages],
                "question_id": question.id,
            }
            for question, messages in question_messages(**{"protocol": CHAT, **settings})
        ]
    )


class SearchQA:
    """An episode as TRL's environments are: public methods are tools, and it prices itself.

    What the model says beside its tool calls does not reach the environment, so its thoughts do not count
    for the belief. A conversation that ends without an answer ends with a message that is no action.
    """

    def __init__(self, env: SearchQAEnv) -> None:
        self._env = env
        self.rewards: list[float] = []
        """The reward of every turn so far."""

    def reset(self, question_id: str, **columns: Any) -> None:
        """Begin an episode on the row's question; the row's prompt holds the question already."""
        self._env.reset(options={"question_id": question_id})
        self.rewards = []

    def search(self, query: str) -> str:
        """Search for passages.

        Args:
            query: What to search for.

        Returns:
            The passages that were found.
        """
        return self._play("search", {"query": query})

    def answer(self, answer: str) -> str:
        """Give the final answer to the question.

        Args:
            answer: The answer, short and without explanation.

        Returns:
            Nothing: the episode is over.
        """
        return self._play("answer", {"answer": answer})

    def get_reward(self) -> float:
        """The sum of the turns' rewards. TRL asks once, after the conversation."""
        episode = self._env.episode
        if episode is not None and not episode.done:
            self._env.step("")
            if not episode.done:
                self._env.engine.end(episode, EndReason.TURNS_EXHAUSTED)
            self.rewards = turn_rewards(episode)
        return sum(self.rewards)

    def _play(self, tool: str, arguments: dict[str, Any]) -> str:
        message = native_message(self._env.engine.protocol, [(tool, arguments)])
        observation, reward, *_ = self._env.step(message)
        self.rewards.append(reward)
        return self._env.engine.protocol.body(observation)


def environment_factory(**settings: Any) -> Callable[[], SearchQA]:
    """What ``GRPOTrainer(environment_factory=...)`` takes; all its environments share index and scorer.

    ``settings`` are the arguments of :class:`SearchQAEnv`; the protocol is ``NATIVE`` unless given.
    """
    sessions = Sessions(**{"protocol": NATIVE, **settings})
    return lambda: SearchQA(sessions())


class Rollouts:
    """A ``rollout_func``: plays the batch's episodes together, sampled by whatever engine the trainer has.

    One step is one generation call, one search call and one belief call. Transcripts are never rendered or
    tokenized twice: what the policy sampled is what is scored and trained on. Beside what TRL needs it
    returns for each episode ``turn_gains``, ``outcome`` and ``last_gain`` (its split, see
    :func:`igpo_gym.rewards.split.split`), ``turn_rewards`` (as the environment paid them), ``token_turns``
    (for each token of the completion, the number of the agent's turn from 1, and 0 on what the environment
    wrote), and the scores ``em``, ``f1`` and ``cover_em``.

    How a message is sampled is said in ``GRPOConfig``. ``generation_kwargs`` should bound a message's length
    and stop it at a closing tag: for vLLM ``{"max_tokens": 256, "stop": ["</search>", "</answer>"],
    "include_stop_str_in_output": True}``, for transformers ``{"max_new_tokens": 256}`` (what is sampled
    after a closing tag is cut off). An episode that has filled ``max_completion_length`` ends as one that ran
    out of turns.

    ``settings`` are the arguments of :class:`SearchQAEnv`; the protocol is ``CHAT`` unless given. The data
    set must be that of :func:`dataset`. Raises SpecError for prompts that are not.
    """

    def __init__(self, **settings: Any) -> None:
        self._sessions = Sessions(**{"protocol": CHAT, **settings})
        self._framing: tuple[Any, Framing] | None = None

    def __call__(self, prompts: list[list[dict[str, str]]], trainer: GRPOTrainer) -> dict[str, Any]:
        """Play an episode for each prompt."""
        engine, tokenizer = self._sessions.engine, trainer.processing_class
        framing = self._frame(tokenizer)
        episodes = engine.begin([self._sessions.questions.find(question_id(prompt)) for prompt in prompts])
        engine.start(episodes)
        starts = [len(framing.ids(episode.segments)) for episode in episodes]
        room = trainer.max_completion_length

        while running := [
            episode
            for episode, start in zip(episodes, starts, strict=True)
            if not episode.done and len(framing.ids(episode.segments)) < start + room
        ]:
            contexts = [list(framing.ids(episode.segments)) for episode in running]
            sampled, log_probs = trainer._generate_single_turn(contexts, None, {}, num_generations=1)
            messages = [
                sampled_message(framing, engine.protocol, ids, own)
                for ids, own in zip(sampled, log_probs or [None] * len(sampled), strict=True)
            ]
            engine.settle(engine.play(running, messages))
        end_unfinished(engine, episodes)

        rows = [token_rows(episode, framing) for episode in episodes]
        splits = [split_fields(split(episode, engine.reward)) for episode in episodes]
        scored = [scores(episode) for episode in episodes]
        spans = [slice(start, start + room) for start in starts]
        completions = list(zip(rows, spans, strict=True))
        return {
            "prompt_ids": [row.ids[: span.start].tolist() for row, span in completions],
            "completion_ids": [row.ids[span].tolist() for row, span in completions],
            "logprobs": _log_probs(completions),
            "env_mask": [row.mask[span].astype(int).tolist() for row, span in completions],
            "token_turns": [row.turn[span].tolist() for row, span in completions],
            **{name: [fields[name] for fields in splits] for name in splits[0]},
            "turn_rewards": [turn_rewards(episode) for episode in episodes],
            **{name: [each[name] for each in scored] for name in METRICS},
        }

    @property
    def reward(self) -> RewardFunction:
        """What the episodes are paid by."""
        return self._sessions.engine.reward

    def _frame(self, tokenizer: PreTrainedTokenizerBase) -> Framing:
        if self._framing is None or self._framing[0] is not tokenizer:
            self._framing = tokenizer, Framing(tokenizer)
        return self._framing[1]


def question_id(prompt: Sequence[dict[str, str]]) -> str:
    """The question that a prompt of :func:`dataset` is about. Raises SpecError for another prompt."""
    named = prompt[-1].get("question_id") if prompt and isinstance(prompt[-1], dict) else None
    if not named:
        raise SpecError(
            "the prompts do not name their questions: train on igpo_gym.adapters.trl.dataset(...)"
        )
    return named


def _log_probs(completions: Sequence[tuple[TokenRow, slice]]) -> list[list[float]] | None:
    """Those of the agent's tokens, and 0 on all others; None where the engine told none."""
    if any(np.isnan(row.log_probs[row.mask]).any() for row, _ in completions):
        return None
    return [np.where(row.mask, row.log_probs, 0.0)[span].tolist() for row, span in completions]


def episode_reward(
    turn_rewards: Sequence[Sequence[float]],
    log_metric: Callable[[str, float], None] | None = None,
    **columns: Any,
) -> list[float]:
    """A reward function for TRL: the sum of the turns' rewards, and the answers' scores in its log."""
    for name in METRICS:
        if log_metric is not None and columns.get(name):
            log_metric(name, float(np.mean(columns[name])))
    return [sum(rewards) for rewards in turn_rewards]


_GATHERED = ("turn_gains", "outcome", "last_gain", "token_turns")
"""The columns of :class:`Rollouts` that advantages are made of."""


class TurnGRPOTrainer(GRPOTrainer):
    """``GRPOTrainer`` that gives every turn its own advantage.

    TRL reduces an episode to one number; here gains and outcomes of :class:`Rollouts` are kept apart, and all
    tokens of a turn get the advantage that ``estimator`` (a name, with parameters or without, or an
    ``Estimator``) gives it within its group, discounted by ``gamma`` per turn. Everything else is TRL's:
    clipping and ratios (those of an estimator that has its own are not taken over), KL, loss types, logging,
    its reward (of the sum) included. The metric ``collapsed_groups`` is the share of groups that teach
    nothing, ``batches_without_gain`` that of batches of which no turn has a gain though the reward pays some.

    Raises SpecError for an estimator that there is not, that needs states, or that ignores gains which the
    reward of ``rollout_func`` pays.
    """

    def __init__(
        self, *args: Any, estimator: str | Estimator = DEFAULT, gamma: float = 1.0, **kwargs: Any
    ) -> None:
        self._estimator = resolve_estimator(estimator)
        self._gamma = gamma
        if self._estimator.needs_states:
            raise SpecError(f"{self._estimator.name} compares states, which TRL does not hand over")
        self._expects_gains = False
        if isinstance(rollouts := kwargs.get("rollout_func"), Rollouts):
            check_reward(self._estimator, rollouts.reward)
            self._expects_gains = self._estimator.uses_gains and bool(rollouts.reward.gains)
        super().__init__(*args, **kwargs)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        training = self.model.training
        size = self.num_generations if training else self.num_generations_eval
        rows = gather_object([{name: row[name] for name in _GATHERED} for row in inputs])
        turns = Turns.of(list(map(read_split, rows)), groups=[place // size for place in range(len(rows))])
        values = self._estimator(turns, self._gamma)
        metrics = self._metrics["train" if training else "eval"]
        metrics["collapsed_groups"].append(collapse_rate(turns, values))
        if self._expects_gains:
            metrics["batches_without_gain"].append(float(not turns.gains.any()))

        spread = per_token(turns, values, [row["token_turns"] for row in rows])
        first = self.accelerator.process_index * len(inputs)
        advantages = torch.zeros(output["completion_ids"].shape)
        for place, own in enumerate(spread[first : first + len(inputs)]):
            advantages[place, : len(own)] = torch.from_numpy(own)
        output["advantages"] = advantages.to(output["completion_ids"].device)
        return output
