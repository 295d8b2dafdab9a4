"""Networks for the discrete environment that weigh every candidate with the same weights.

A plain network over the flat observation has to learn anew for each slot what a good candidate looks like.
These read candidate by candidate, see what is best among the others, and so learn from fewer episodes. They
are plain ``torch`` modules, for any library.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from igpo_gym.envs.candidates import CANDIDATE_FEATURES, TURN_FEATURES

_FEATURES, _TURN_FEATURES = len(CANDIDATE_FEATURES), len(TURN_FEATURES)


class CandidateReader(nn.Module):
    """Observations ``[..., size]`` to a vector for each candidate, ``[..., slots, width]``, and one for all,
    ``[..., width]``: the maximum over the filled slots."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(_FEATURES + _TURN_FEATURES, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Read a batch of observations."""
        slots = torch.unflatten(observations[..., :-_TURN_FEATURES], -1, (-1, _FEATURES))
        turn = observations[..., None, -_TURN_FEATURES:].expand(*slots.shape[:-1], -1)
        filled = slots[..., :1]
        read = self.layers(torch.cat([slots, turn], dim=-1)) * filled
        return read, read.amax(dim=-2)


class CandidateActor(nn.Module):
    """Observations ``[..., size]`` to the logits of the actions, ``[..., 2 * slots + 1]``."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.reader = CandidateReader(width)
        self.each = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 2))
        self.question = nn.Linear(width, 1)

    def forward(self, observations: Tensor) -> Tensor:
        """The logits, in the order of the actions."""
        read, best = self.reader(observations)
        beside = torch.cat([read, best.unsqueeze(-2).expand_as(read)], dim=-1)
        search, answer = self.each(beside).unbind(-1)
        return torch.cat([self.question(best), search, answer], dim=-1)


class CandidateCritic(nn.Module):
    """Observations ``[..., size]`` to vectors ``[..., width]``, from which a linear layer tells the value."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.reader = CandidateReader(width)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU())

    def forward(self, observations: Tensor) -> Tensor:
        """The value's features."""
        features: Tensor = self.layers(self.reader(observations)[1])
        return features
