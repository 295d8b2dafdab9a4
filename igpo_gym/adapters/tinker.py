"""Tinker cookbook: environments, groups and data sets for its trainer, and an advantage for every turn.

::

    from tinker_cookbook.rl import train
    from igpo_gym.adapters.tinker import SearchQADatasetBuilder, turn_credit

    builder = SearchQADatasetBuilder(model_name="Qwen/Qwen3-8B", questions="hotpotqa:train.json")
    config = train.Config(dataset_builder=builder, model_name="Qwen/Qwen3-8B", ...)
    with turn_credit("igpo-separate"):
        asyncio.run(train.main(config))

The cookbook compares the sums of episodes. Within :func:`turn_credit` its trainer compares gains and
outcomes, and all tokens of a turn get the advantage of that turn.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from igpo_gym.adapters.session import (
    Sessions,
    declared_settings,
    question_messages,
    refuse_credentials,
    shared_sessions,
)
from igpo_gym.adapters.tokens import (
    end_unfinished,
    episode_fields,
    read_split,
    turn_advantages,
)
from igpo_gym.agents.policies.messages import sampled_message
from igpo_gym.agents.training.estimators import DEFAULT, Estimator, Floats, Seed
from igpo_gym.data.scores import scores
from igpo_gym.episode import EndReason
from igpo_gym.errors import SpecError
from igpo_gym.libraries import needs
from igpo_gym.lm.framing import Framing
from igpo_gym.protocols import CHAT

with needs("igpo_gym.adapters.tinker", "tinker", "chz", "tinker", "tinker_cookbook"):
    import chz
    import tinker
    from tinker_cookbook.completers import StopCondition
    from tinker_cookbook.rl import train
    from tinker_cookbook.rl.data_processing import trajectory_to_data
    from tinker_cookbook.rl.types import (
        Action,
        ActionExtra,
        Env,
        EnvGroupBuilder,
        Metrics,
        Observation,
        RLDataset,
        RLDatasetBuilder,
        StepResult,
        StopReason,
        Trajectory,
        TrajectoryGroup,
    )
    from tinker_cookbook.tokenizer_utils import get_tokenizer

LOG = "igpo"
"""Where the last transition's logs hold the episode's split, turn rewards and beliefs, as JSON."""

STOP_REASONS = {
    EndReason.ANSWERED: StopReason.COMPLETED,
    EndReason.INVALID_MESSAGE: StopReason.PARSE_ERROR,
    EndReason.TURNS_EXHAUSTED: StopReason.MAX_TURNS,
    EndReason.CONTEXT_EXHAUSTED: StopReason.CONTEXT_OVERFLOW,
}


class SearchQA(Env):
    """One episode on one question. What the policy sampled is what is scored; nothing is tokenized twice.

    The observations are the transcript in the framing of the tokenizer's own chat template: the cookbook's
    renderers are not used. ``stop`` is what ends a message.
    """

    def __init__(self, sessions: Sessions, framing: Framing, question_id: str, stop: StopCondition) -> None:
        self._sessions, self._framing, self._stop = sessions, framing, stop
        (self.episode,) = sessions.engine.begin([sessions.questions.find(question_id)])

    async def initial_observation(self) -> tuple[Observation, StopCondition]:
        """The prompt's token ids, and where a message ends."""
        await asyncio.to_thread(self._sessions.engine.start, [self.episode])
        return self._observation(), self._stop

    async def step(self, action: Action, *, extra: ActionExtra | None = None) -> StepResult:
        """Play one message. The last one's metrics hold the answer's scores and why the episode ended."""
        episode = self.episode
        (reward,) = await asyncio.to_thread(self._play, action)
        metrics: Metrics = {}
        if episode.end is not None:
            stopped = {f"stop/{STOP_REASONS[episode.end]}": 1.0}
            metrics = {**scores(episode), "tool_turns": float(episode.tool_turns), **stopped}
        return StepResult(reward, episode.done, self._observation(), self._stop, metrics)

    def ended(self, trajectory: Trajectory) -> float:
        """End the episode where the library's limits did, and log its split; what that adds to the reward."""
        engine, episode = self._sessions.engine, self.episode
        end_unfinished(engine, [episode])
        trajectory.transitions[-1].logs[LOG] = json.dumps(episode_fields(episode, engine.reward))
        paid = [float(transition.reward) for transition in trajectory.transitions]
        return episode.total_reward - sum(paid)

    def _play(self, action: Action) -> list[float]:
        engine = self._sessions.engine
        message = sampled_message(self._framing, engine.protocol, action)
        return engine.settle(engine.play([self.episode], [message]))

    def _observation(self) -> Observation:
        return tinker.ModelInput.from_ints(list(self._framing.ids(self.episode.segments)))


@lru_cache(maxsize=8)
def framing(model_name: str) -> Framing:
    """The framing of a model, with the cookbook's tokenizer for it. Raises SpecError where it has none."""
    tokenizer = get_tokenizer(model_name)
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise SpecError(f"{model_name} has no fast tokenizer of transformers, which is needed here")
    return Framing(tokenizer)


@dataclass(frozen=True)
class SearchQAGroup(EnvGroupBuilder):
    """Attempts at one question. It is pickled where ``settings`` are; what is heavy is made where it runs."""

    question_id: str
    attempts: int
    model_name: str
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The arguments of :class:`SearchQAEnv`; the protocol is ``CHAT`` unless given."""
    stop_at_actions: bool = False
    """Whether sampling stops at the texts that close an action, and not at the end of the model's turn."""

    async def make_envs(self) -> Sequence[Env]:
        """An environment for each attempt; groups of equal settings share index and scorer."""
        sessions = await asyncio.to_thread(shared_sessions, **{"protocol": CHAT, **self.settings})
        own = framing(self.model_name)
        ends = list(sessions.engine.protocol.stops) if self.stop_at_actions else sorted(own.end_ids)
        return [SearchQA(sessions, own, self.question_id, ends) for _ in range(self.attempts)]

    async def compute_group_rewards(
        self, trajectory_group: list[Trajectory], env_group: Sequence[Env]
    ) -> list[tuple[float, Metrics]]:
        """0, but for episodes that the library's limits ended: what the end pays, less the last gain."""
        pairs = zip(trajectory_group, env_group, strict=True)
        return [(await asyncio.to_thread(env.ended, trajectory), {}) for trajectory, env in pairs]

    def logging_tags(self) -> list[str]:
        """The tag of this environment in the cookbook's logs."""
        return ["searchqa"]


@dataclass(frozen=True)
class SearchQADataset(RLDataset):
    """Batches of groups, in order; the last one may be smaller."""

    groups: Sequence[SearchQAGroup]
    batch_size: int

    def get_batch(self, index: int) -> Sequence[EnvGroupBuilder]:
        """The groups of one batch."""
        return self.groups[index * self.batch_size : (index + 1) * self.batch_size]

    def __len__(self) -> int:
        return -(-len(self.groups) // self.batch_size)


NOT_HERE = ("questions", "protocol", "order", "group_size", "info", "oracle_info", "render_mode")
"""The arguments of an environment that the builder has fields of its own for, or that change nothing here."""

_SETTINGS = declared_settings(*NOT_HERE)
_Arguments: Any = chz.chz(
    type(
        "_Arguments",
        (RLDatasetBuilder,),
        {
            "__module__": __name__,
            "__annotations__": {name: setting.kind for name, setting in _SETTINGS.items()},
            **{name: chz.field(default=each.default, doc=each.meaning) for name, each in _SETTINGS.items()},
        },
    )
)


@chz.chz
class SearchQADatasetBuilder(_Arguments):
    """Training questions in an order drawn by ``seed``, and test questions where they are named.

    The other fields are the arguments of :class:`SearchQAEnv`; the protocol is ``CHAT``. Raises SpecError for
    a URL with a password.
    """

    model_name: str
    questions: str = "world"
    test_questions: str | None = None
    batch_size: int = 32
    attempts: int = 8
    seed: int = 0
    stop_at_actions: bool = False

    @chz.validate
    def _without_passwords(self) -> None:
        """The cookbook writes its configuration into logs."""
        named = ("questions", "test_questions", *_SETTINGS)
        refuse_credentials({name: getattr(self, name) for name in named})

    async def __call__(self) -> tuple[RLDataset, RLDataset | None]:
        """The data sets; test questions are played once each."""
        training = self._groups(self.questions, self.attempts)
        random.Random(self.seed).shuffle(training)
        test = self._groups(self.test_questions, 1) if self.test_questions else None
        made = SearchQADataset(training, self.batch_size)
        return made, SearchQADataset(test, self.batch_size) if test else None

    def _groups(self, questions: str, attempts: int) -> list[SearchQAGroup]:
        settings = {"questions": questions, **{name: getattr(self, name) for name in _SETTINGS}}
        return [
            SearchQAGroup(question.id, attempts, self.model_name, settings, self.stop_at_actions)
            for question, _ in question_messages(**{"protocol": CHAT, **settings})
        ]


def group_advantages(
    trajectory_groups: Sequence[TrajectoryGroup],
    estimator: str | Estimator = DEFAULT,
    gamma: float = 1.0,
    seed: Seed | None = None,
) -> list[list[Floats]]:
    """For each group and trajectory the advantages of its turns, as :func:`turn_advantages` has them.

    In the place of the cookbook's ``compute_advantages``. Raises ValueError for trajectories of another
    environment.
    """
    splits, groups = [], []
    for number, group in enumerate(trajectory_groups):
        for trajectory in group.trajectories_G:
            told = trajectory.transitions[-1].logs.get(LOG)
            if not isinstance(told, str):
                raise ValueError("the trajectory has no split: its environment is not this adapter's")
            splits.append(read_split(json.loads(told)))
            groups.append(number)
    values = iter(turn_advantages(splits, groups, estimator, gamma, seed) if splits else [])
    return [[next(values) for _ in group.trajectories_G] for group in trajectory_groups]


def turn_data(
    trajectory: Trajectory, advantages: Sequence[float] | Floats, include_provenance: bool = True
) -> list[tinker.Datum]:
    """The cookbook's training data of a trajectory, with the advantage of each turn on its tokens.

    Tinker keeps them as float32. Raises ValueError for advantages of other turns than the trajectory has.
    """
    sampled = [len(transition.ac.tokens) for transition in trajectory.transitions]
    if not any(sampled):
        return []
    if len(sampled) != len(advantages):
        raise ValueError(f"{len(sampled)} messages were sampled, but {len(advantages)} turns were rewarded")
    spread = np.repeat(np.asarray(advantages, dtype=np.float32), sampled)
    data, given = [], 0
    for datum in trajectory_to_data(trajectory, 1.0, include_provenance):
        own = datum.loss_fn_inputs["mask"].to_numpy() > 0
        placed = np.zeros(len(own), dtype=np.float32)
        placed[own] = spread[given : given + own.sum()]
        given += int(own.sum())
        inputs = {**datum.loss_fn_inputs, "advantages": tinker.TensorData.from_numpy(placed)}
        data.append(replace(datum, loss_fn_inputs=inputs))
    return data


def assemble_training_data(
    trajectory_groups: Sequence[TrajectoryGroup],
    advantages: Sequence[Sequence[Floats]],
    include_provenance: bool = True,
) -> tuple[list[tinker.Datum], list[dict[str, int]]]:
    """The data of all trajectories, and which they are of; in the place of the cookbook's function."""
    data, places = [], []
    for number, (group, values) in enumerate(zip(trajectory_groups, advantages, strict=True)):
        for place, (trajectory, own) in enumerate(zip(group.trajectories_G, values, strict=True)):
            made = turn_data(trajectory, own, include_provenance)
            data += made
            places += [{"group_idx": number, "traj_idx": place}] * len(made)
    return data, places


@contextmanager
def turn_credit(estimator: str | Estimator = DEFAULT, gamma: float = 1.0) -> Iterator[None]:
    """Within, ``tinker_cookbook.rl.train`` gives every turn its own advantage.

    The cookbook has no argument for that: two functions of its module are replaced, and put back at the end.
    """
    before = train.compute_advantages, train.assemble_training_data
    train.compute_advantages = partial(group_advantages, estimator=estimator, gamma=gamma)
    train.assemble_training_data = assemble_training_data
    try:
        yield
    finally:
        train.compute_advantages, train.assemble_training_data = before
