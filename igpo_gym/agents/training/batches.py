"""What a policy did, in tokens: the batch that is learned from, in parts of any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from igpo_gym.agents.rollouts.tokens import TokenRow
from igpo_gym.agents.training.estimators import Floats, Turns, per_token
from igpo_gym.episode import Episode
from igpo_gym.rewards import RewardFunction, split


@dataclass(frozen=True, slots=True)
class Sample:
    """What is learned from one episode, or from several that stand one behind the other."""

    ids: Tensor
    """[tokens], up to the last one that the agent wrote."""
    lengths: tuple[int, ...]
    """How many of the tokens belong to each episode."""
    written: Tensor
    """[tokens], which the agent wrote. All other fields have a number for each of these."""
    turns: Tensor
    """The number of the token's turn, counted through all episodes."""
    sampled: Tensor
    """The log-probability with which the token was sampled, in nats."""
    advantages: Tensor
    low: Tensor
    high: Tensor
    """Ratios count between 1 - low and 1 + high."""
    weights: Tensor
    """Sum to 1 over the whole batch, so that it may be cut into micro-batches of any size."""


def turns_of(episodes: Sequence[Episode], reward: RewardFunction, group_size: int) -> Turns:
    """The turns of episodes that stand group after group.

    The state before a turn is what the environment said last, as GiGPO takes it.
    """
    return Turns.of(
        [split(episode, reward) for episode in episodes],
        groups=[place // group_size for place in range(len(episodes))],
        states=[
            ["", *(turn.observation for turn in episode.turns)][: len(episode.turns)] for episode in episodes
        ],
    )


def samples(
    rows: Sequence[TokenRow], turns: Turns, advantages: Floats, clips: tuple[Floats, Floats], loss: str
) -> list[Sample]:
    """A sample for each row.

    Under ``loss`` "token-mean" each token of the batch has the same weight, under "sequence-mean" each
    episode has. ``clips`` are how far below and above 1 the ratios of each turn count.
    """
    counts = [int(row.mask.sum()) for row in rows]
    means = [sum(counts)] * len(rows) if loss == "token-mean" else [len(rows) * each for each in counts]
    numbers = [row.turn for row in rows]
    spread = [per_token(turns, values, numbers) for values in (advantages, *clips)]
    made = []
    for row, count, mean, advantage, low, high in zip(rows, counts, means, *spread, strict=True):
        stop = int(np.flatnonzero(row.mask)[-1]) + 1 if count else 1
        made.append(
            Sample(
                ids=torch.from_numpy(row.ids[:stop]),
                lengths=(stop,),
                written=torch.from_numpy(row.mask[:stop]),
                turns=torch.from_numpy(row.turn[row.mask]),
                sampled=torch.from_numpy(row.log_probs[row.mask]),
                advantages=torch.from_numpy(advantage[row.mask]).float(),
                low=torch.from_numpy(low[row.mask]).float(),
                high=torch.from_numpy(high[row.mask]).float(),
                weights=torch.full((count,), 1.0 / max(mean, 1)),
            )
        )
    return made


def minibatches(episodes: Sequence[Sample], parts: int, seed: Sequence[int]) -> list[list[Sample]]:
    """The episodes in so many parts of nearly equal number, drawn by ``seed``.

    One part is all of them in order. In each part weights sum to 1 again. A part in which the agent wrote
    nothing is left out.
    """
    if parts == 1:
        return [list(episodes)]
    order = np.random.default_rng(seed).permutation(len(episodes))
    made = []
    for places in np.array_split(order, parts):
        chosen = [episodes[place] for place in sorted(places)]
        total = sum(float(each.weights.sum()) for each in chosen)
        if total:
            made.append([replace(each, weights=each.weights / total) for each in chosen])
    return made


def micro_batches(episodes: Sequence[Sample], tokens: int, device: torch.device) -> list[Sample]:
    """Episodes one behind the other: in each sample at most ``tokens``, but at least one episode."""
    groups: list[list[Sample]] = []
    room = 0
    for episode in episodes:
        room -= len(episode.ids)
        if room < 0:
            groups.append([])
            room = tokens - len(episode.ids)
        groups[-1].append(episode)
    return [_joined(group, device) for group in groups]


def _joined(group: Sequence[Sample], device: torch.device) -> Sample:
    names = [field.name for field in fields(Sample) if field.name not in ("lengths", "turns")]
    tensors = {name: torch.cat([getattr(each, name) for each in group]).to(device) for name in names}
    turns = [each.turns + (place << 32) for place, each in enumerate(group)]
    return Sample(
        lengths=tuple(length for each in group for length in each.lengths),
        turns=torch.unique(torch.cat(turns), return_inverse=True)[1].to(device),
        **tensors,
    )
