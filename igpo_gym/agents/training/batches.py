"""What a policy did, in tokens: the batch that is learned from, in parts of any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from igpo_gym.agents.rollouts.tokens import TokenRow
from igpo_gym.agents.training.advantages import turn_states
from igpo_gym.agents.training.estimators import Floats, Turns, per_token
from igpo_gym.episode import Episode
from igpo_gym.lm.packing import Packing, longest_prefix, pack
from igpo_gym.rewards import RewardFunction, split


@dataclass(frozen=True, slots=True)
class Sample:
    """What is learned from one episode."""

    ids: Tensor
    """[tokens], up to the last one that the agent wrote."""
    written: Tensor
    """[tokens], which the agent wrote. All other fields have a number for each of these."""
    turns: Tensor
    """The number of the token's turn."""
    sampled: Tensor
    """The log-probability with which the token was sampled, in nats."""
    advantages: Tensor
    low: Tensor
    high: Tensor
    """Ratios count between 1 - low and 1 + high."""
    weights: Tensor
    """Sum to 1 over the whole batch, so that it may be cut into micro-batches of any size."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What is learned from some episodes in one forward and backward pass: a row in which they are packed.

    The fields of ``Sample`` are here, episode after episode, for each token that an agent wrote.
    """

    ids: Tensor
    """[tokens of the row]; what episodes have in common stands there once."""
    packing: Packing
    places: Tensor
    """In which row of ``ids`` the token is predicted: that of the token before it."""
    targets: Tensor
    """The token."""
    turns: Tensor
    """The number of its turn, counted through all episodes."""
    sampled: Tensor
    advantages: Tensor
    low: Tensor
    high: Tensor
    weights: Tensor


def turns_of(groups: Sequence[Sequence[Episode]], reward: RewardFunction) -> Turns:
    """The turns of episodes, group after group, with their states."""
    episodes = [episode for group in groups for episode in group]
    return Turns.of(
        [split(episode, reward) for episode in episodes],
        groups=[place for place, group in enumerate(groups) for _ in group],
        states=[turn_states(episode) for episode in episodes],
    )


def own_turns(rows: Sequence[TokenRow], episodes: Sequence[Episode]) -> list[TokenRow]:
    """The rows, with what a branch shares with the episode that it left as if the agent had not written it.

    It is learned from in the row of that episode.
    """
    return [
        row if each.branch is None else replace(row, turn=np.where(row.turn > each.branch.turn, row.turn, 0))
        for row, each in zip(rows, episodes, strict=True)
    ]


def samples(
    rows: Sequence[TokenRow], turns: Turns, advantages: Floats, clips: tuple[Floats, Floats], loss: str
) -> list[Sample]:
    """A sample for each row.

    Under ``loss`` "token-mean" each token of the batch has the same weight, under "sequence-mean" each
    episode has. ``clips`` are how far below and above 1 the ratios of each turn count.
    """
    counts = [int(row.mask.sum()) for row in rows]
    episodes = sum(count > 0 for count in counts)
    means = [sum(counts)] * len(rows) if loss == "token-mean" else [episodes * each for each in counts]
    numbers = [row.turn for row in rows]
    spread = [per_token(turns, values, numbers) for values in (advantages, *clips)]
    made = []
    for row, count, mean, advantage, low, high in zip(rows, counts, means, *spread, strict=True):
        stop = int(np.flatnonzero(row.mask)[-1]) + 1 if count else 1
        made.append(
            Sample(
                ids=torch.from_numpy(row.ids[:stop]),
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


def taught(episodes: Sequence[Sample]) -> list[Sample]:
    """The episodes of which a turn has an advantage; all, where none has.

    Without a term in the loss for every token, the others change no gradient. Where there is no gradient at
    all an optimizer still steps, by its moments.
    """
    return [each for each in episodes if each.advantages.any()] or list(episodes)


def micro_batches(episodes: Sequence[Sample], tokens: int, device: torch.device) -> list[Batch]:
    """Episodes packed into rows: in each at most ``tokens``, but at least one episode.

    On a CPU, tokens that episodes of a row begin with alike stand there once. Elsewhere episodes stand in
    full, since attention would lay the keys of each side by side all the same.
    """
    shared = device.type == "cpu"
    return [_packed(group, device, shared) for group in grouped(episodes, tokens, shared)]


def grouped(episodes: Sequence[Sample], tokens: int, shared: bool) -> list[list[Sample]]:
    """The episodes in groups of at most ``tokens``; ``shared``: those of a common beginning count once."""
    groups: list[list[Sample]] = []
    room = 0
    for episode in episodes:
        ids = episode.ids.numpy()
        others = [each.ids.numpy() for each in groups[-1]] if groups and shared else []
        room -= len(ids) - longest_prefix(ids, others)[1]
        if room < 0:
            groups.append([])
            room = tokens - len(ids)
        groups[-1].append(episode)
    return groups


def _packed(group: Sequence[Sample], device: torch.device, shared: bool) -> Batch:
    packing, rows = pack([each.ids.numpy() for each in group], shared)
    ids = torch.empty(packing.tokens, dtype=torch.long)
    for each, own in zip(group, rows, strict=True):
        ids[own] = each.ids
    written = [each.written.nonzero()[:, 0].numpy() for each in group]
    places = torch.from_numpy(np.concatenate([own[at - 1] for own, at in zip(rows, written, strict=True)]))
    turns = torch.cat([each.turns + (number << 32) for number, each in enumerate(group)])
    told = {
        name: torch.cat([getattr(each, name) for each in group]).to(device)
        for name in ("sampled", "advantages", "low", "high", "weights")
    }
    return Batch(
        ids=ids.to(device),
        packing=packing.reading(places.to(device)),
        places=places.to(device),
        targets=torch.cat([each.ids[each.written] for each in group]).to(device),
        turns=torch.unique(turns, return_inverse=True)[1].to(device),
        **told,
    )
