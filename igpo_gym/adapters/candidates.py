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
    """Observations ``[batch, size]`` to a vector for each candidate, ``[batch, slots, width]``, and one for
    all, ``[batch, width]``: the maximum over the filled slots."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(
            nn.Linear(_FEATURES + _TURN_FEATURES, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Read a batch of observations."""
        turn = observations[:, -_TURN_FEATURES:]
        slots = observations[:, :-_TURN_FEATURES].unflatten(1, (-1, _FEATURES))
        beside = turn.unsqueeze(1).expand(-1, slots.shape[1], -1)
        filled = slots[..., :1]
        read = self.layers(torch.cat([slots, beside], dim=-1)) * filled
        return read, read.amax(dim=1)


class CandidateActor(nn.Module):
    """Observations to the logits of the 2 * slots + 1 actions."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.reader = CandidateReader(width)
        self.each = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 2))
        self.question = nn.Linear(width, 1)

    def forward(self, observations: Tensor) -> Tensor:
        """The logits, ``[batch, 2 * slots + 1]``."""
        read, best = self.reader(observations)
        search, answer = self.each(torch.cat([read, best.unsqueeze(1).expand_as(read)], dim=-1)).unbind(-1)
        return torch.cat([self.question(best), search, answer], dim=1)


class CandidateCritic(nn.Module):
    """Observations to a vector ``[batch, width]`` from which a linear layer can tell the value."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.reader = CandidateReader(width)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU())

    def forward(self, observations: Tensor) -> Tensor:
        """The value's features."""
        features: Tensor = self.layers(self.reader(observations)[1])
        return features
