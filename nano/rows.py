"""Token rows with branches, which all lessons are made of, and how they are packed into batches.

A row is one token sequence with branches: a branch continues the row from one of its positions and is seen
by nothing else. Transcripts are the rows, and the gold answer after every turn is a branch, so one row
teaches the belief after each of its turns. Segments are tokenized one by one, as every scorer does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from random import Random
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from igpo_gym.protocols import TAGS
from nano.tokenizer import BOS, EOS, token_id

if TYPE_CHECKING:
    from tokenizers import Tokenizer


TEXT, ACT, NAMED, PRIOR, BELIEF, ANSWER, KEPT = 0.05, 0.3, 1.5, 0.2, 1.0, 2.0, 3.0
"""Weights of targets in transcripts: the environment's text, the agent's message, the names in its queries,
and the gold answer before any search, before the evidence is complete, when it is, and after a turn wasted
since then. Reading is the hard part, and under Muon, whose steps have one size, it is learned only if it is
most of the loss; a query's name is an earlier hop's answer, so it counts as reading."""


class Part(IntEnum):
    """What a predicted token belongs to, for the weights and the log."""

    TEXT = 0
    RECALL = 1
    """The answer to a question on facts just read."""
    ACT = 2
    """The agent's message."""
    ANSWER = 3
    """A question's answer after all its evidence."""
    BELIEF = 4
    """A question's answer before that."""
    NAME = 5
    """The name that was searched for, or one of a list."""
    CHOICE = 6
    """The answer to a comparison or which-of question, both documents being there."""
    GLIMPSE = 7
    """The answer to a chain whose last document is missing, but whose last one but one may mention it."""
    BACKWARD = 8
    """The entity of which something was said, found by what was said."""
    OLDEST = 9
    """The entity with the earliest of some years."""


@dataclass(slots=True)
class Branch:
    """Tokens that continue a row after position ``start - 1``, with a weight for each as a target."""

    start: int
    ids: list[int]
    weights: list[float]
    part: Part


@dataclass(slots=True)
class Row:
    """Token ids; for each the weight and the part it has as a target (the prediction of the one before)."""

    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)

    def add(self, ids: Sequence[int], weight: float, part: Part) -> None:
        """Continue the row."""
        self.ids += ids
        self.weights += [weight] * len(ids)
        self.parts += [part] * len(ids)

    def branch(self, quiet: Sequence[int], taught: Sequence[int], weight: float, part: Part) -> None:
        """Branch off at the row's present end: ``quiet`` tokens are given, ``taught`` ones are targets."""
        weights = [0.0] * len(quiet) + [weight] * len(taught)
        self.branches.append(Branch(len(self.ids), [*quiet, *taught], weights, part))

    def weighted(self, part: Part, factor: float) -> Row:
        """The row with the weight of all targets of a part multiplied."""
        parts = zip(self.weights, self.parts, strict=True)
        weights = [weight * factor if of == part else weight for weight, of in parts]
        branches = [
            replace(branch, weights=[weight * factor for weight in branch.weights])
            if branch.part == part
            else branch
            for branch in self.branches
        ]
        return replace(self, weights=weights, branches=branches)

    @property
    def length(self) -> int:
        """How many tokens the row has with its branches."""
        return len(self.ids) + sum(len(branch.ids) for branch in self.branches)


class Encoder:
    """Tokenizes segments one by one, and remembers those that return often."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.bos = token_id(tokenizer, BOS)
        self.eos = token_id(tokenizer, EOS)
        self.prefix = self(TAGS.probe.prefix)
        self.suffix = self(TAGS.probe.suffix)

    def __call__(self, text: str) -> list[int]:
        """The token ids of one segment."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids


# Packing.


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
