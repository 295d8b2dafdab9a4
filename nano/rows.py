"""Token rows with branches, which all lessons are made of.

A row is one token sequence with branches: a branch continues the row from one of its positions and is seen
by nothing else. Transcripts are the rows, and the gold answer after every turn is a branch, so one row
teaches the belief after each of its turns. Segments are tokenized one by one, as every scorer does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING

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

    def row(self) -> Row:
        """A new row, with the token that all of them begin with."""
        return Row([self.bos], [0.0], [Part.TEXT])

    def answer(self, text: str) -> list[int]:
        """The token ids of an answer, and the first of those behind it: where it ends is learned too."""
        return self(text) + self.suffix[:1]
