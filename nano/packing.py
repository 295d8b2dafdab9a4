"""How token rows are packed into batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from nano.rows import Part, Row


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows, padded, with their branches behind them: each position's id, target, weight and part."""

    ids: Tensor
    positions: Tensor
    mask: Tensor
    """Additive, (rows, 1, branch tokens, all tokens): what the branch tokens see."""
    targets: Tensor
    weights: Tensor
    parts: Tensor
    decides: Tensor
    """Which targets count in the accuracy of a part: those of rows, and the first that a branch teaches. What
    an answer begins with has to be found; how it goes on follows from what stood behind the same words."""
    size: int
    """How many tokens there are, without the padding."""


def steps(rows: Iterable[Row], tokens: int, size: int, rng: Random) -> list[list[Batch]]:
    """Similar rows together, about ``tokens`` a batch; ``size`` batches of like rows a step, which take a
    process each the same time; the steps in random order."""
    packed, current, held = list[Batch](), list[Row](), 0
    for row in sorted(rows, key=lambda row: (len(row.branches), len(row.ids))):
        if current and held + row.length > tokens:
            packed.append(pack(current))
            current, held = [], 0
        current.append(row)
        held += row.length
    packed.append(pack(current))
    out = [packed[start : start + size] for start in range(0, len(packed), size)]
    rng.shuffle(out)
    return out


def pack(rows: Sequence[Row]) -> Batch:
    """Pad rows to the longest, then their branches to the longest.

    ``owner`` is the number of a token's branch, -1 on the row and -2 on padding; ``limit`` is the last
    position of the row that a branch token may see. Of the environment's text every third token is a target:
    predicting all of it costs much and teaches little.
    """
    plain = max(len(row.ids) for row in rows)
    length = plain + max(row.length - len(row.ids) for row in rows)
    ids, positions, targets, parts, owner, limit = (
        torch.full((len(rows), length), fill) for fill in (0, 0, 0, 0, -2, -1)
    )
    weights = torch.zeros(len(rows), length)
    decides = torch.zeros(len(rows), length, dtype=torch.bool)
    for i, row in enumerate(rows):
        n = len(row.ids)
        ids[i, :n] = torch.tensor(row.ids)
        positions[i, :n] = torch.arange(n)
        owner[i, :n] = -1
        targets[i, : n - 1] = ids[i, 1:n]
        weights[i, : n - 1] = torch.tensor(row.weights[1:])
        parts[i, : n - 1] = torch.tensor(row.parts[1:])
        decides[i, : n - 1] = True
        at = plain
        for number, branch in enumerate(row.branches):
            size, start = len(branch.ids), branch.start
            here = slice(at, at + size)
            ids[i, here] = torch.tensor(branch.ids)
            positions[i, here] = torch.arange(start, start + size)
            limit[i, here] = start - 1
            owner[i, here] = number
            targets[i, at : at + size - 1] = torch.tensor(branch.ids[1:])
            weights[i, at : at + size - 1] = torch.tensor(branch.weights[1:])
            parts[i, here] = int(branch.part)
            first = next((k for k, weight in enumerate(branch.weights) if weight), 0)
            decides[i, at + first - 1 if first else start - 1] = True
            if branch.weights[0]:
                # Nothing is given: the row's own last token predicts the branch's first.
                targets[i, start - 1] = branch.ids[0]
                weights[i, start - 1] = branch.weights[0]
                parts[i, start - 1] = int(branch.part)
            at += size
    unused = (parts == Part.TEXT) & ((torch.arange(length) + length) % 3 != 0)
    weights[unused] = 0.0
    place = torch.arange(length)
    asking, branch_limit = owner[:, plain:, None], limit[:, plain:, None]
    on_row = (owner[:, None, :] == -1) & (place <= branch_limit)
    on_branch = (asking >= 0) & (asking == owner[:, None, :]) & (place <= place[plain:, None])
    visible = on_row | on_branch | (place == place[plain:, None])
    mask = torch.zeros(visible.shape).masked_fill_(~visible, torch.finfo(torch.float32).min)[:, None]
    return Batch(ids, positions, mask, targets, weights, parts, decides, sum(row.length for row in rows))
