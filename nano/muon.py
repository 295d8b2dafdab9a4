"""Muon (Jordan et al., 2024): momentum whose steps on matrices are made orthogonal by Newton-Schulz."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor


def orthogonalise(matrices: Tensor) -> Tensor:
    """Matrices (count, rows, columns) with their singular values pushed towards 1; in bfloat16, which is
    exact enough for a direction and takes a third of the time."""
    x = (matrices / (matrices.flatten(1).norm(dim=1)[:, None, None] + 1e-7)).bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    for _ in range(5):
        gram = x @ x.transpose(1, 2)
        x = 3.4445 * x + (2.0315 * gram @ gram - 4.7750 * gram) @ x
    out: Tensor = (x.transpose(1, 2) if tall else x).to(matrices.dtype)
    return out


class Muon:
    """An optimizer for matrices; those of one shape are stepped together."""

    def __init__(self, matrices: Iterable[Tensor], momentum: float = 0.95, decay: float = 0.01) -> None:
        groups: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
        for matrix in matrices:
            groups[tuple(matrix.shape)].append(matrix)
        self._groups = list(groups.values())
        self._momentum, self._decay = momentum, decay
        self.velocities = [torch.zeros(len(group), *group[0].shape) for group in self._groups]
        """The optimizer's state, a tensor for each shape."""

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move every matrix along its gradient's orthogonalised momentum."""
        for group, velocity in zip(self._groups, self.velocities, strict=True):
            gradient = torch.stack([matrix.grad for matrix in group if matrix.grad is not None])
            velocity.lerp_(gradient, 1 - self._momentum)
            update = orthogonalise(gradient.lerp(velocity, self._momentum))
            scale = max(1.0, gradient.shape[1] / gradient.shape[2]) ** 0.5
            for matrix, step in zip(group, update, strict=True):
                matrix.mul_(1 - rate * self._decay).add_(step, alpha=-rate * scale)
