"""The tree of a question's answers behind one probe, as a language model reads it in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch

from igpo_gym.episode import Belief
from igpo_gym.scorers.prompts import AnswerIds, belief_of


@dataclass(frozen=True, slots=True, eq=False)
class AnswerTree:
    """The probe's tokens, then the answers' tokens as branches; beginnings that answers share are there once.

    An answer's last token predicts nothing that is asked, so it is only there if another answer goes on
    after it.

    >>> tree = answer_tree((AnswerIds((1, 2), (5, 6)), AnswerIds((1, 2), (5, 7))))  # they begin alike
    >>> tree.tokens, tree.targets
    ((1, 2, 5), (5, 6, 5, 7))
    """

    tokens: tuple[int, ...]
    depths: tuple[int, ...]
    """How many tokens of the tree stand before each: its position, counted from the transcript's end."""
    parents: tuple[int, ...]
    """The token in front of each; -1 where that is the transcript's last."""
    predictors: tuple[int, ...]
    """For each token of each answer, the token of the tree that predicts it."""
    targets: tuple[int, ...]
    """The tokens of all answers, one answer after the other."""
    bounds: tuple[int, ...]
    """Where in ``targets`` each answer begins, and at last where they end."""
    answers: tuple[AnswerIds, ...]
    """What it was made of."""

    @property
    def sees(self) -> torch.Tensor:
        """[tokens, tokens], boolean: whether a token (row) follows another (column) in the tree, or is it."""
        sees = torch.eye(len(self.tokens), dtype=torch.bool)
        for row, parent in enumerate(self.parents):
            if parent >= 0:
                sees[row] |= sees[parent]
        return sees

    def belief(self, log_probs: Sequence[float]) -> Belief:
        """The belief of which these are the log-probabilities of ``targets``."""
        return belief_of([log_probs[start:stop] for start, stop in pairwise(self.bounds)], self.answers)


def answer_tree(answers: tuple[AnswerIds, ...]) -> AnswerTree:
    """The tree of ``answers``, at least one."""
    tokens: list[int] = []
    parents: list[int] = []
    depths: list[int] = []
    branches: dict[tuple[int, int], int] = {}
    predictors: list[int] = []
    for answer in answers:
        row, path = -1, [-1]
        for token in (*answer.before, *answer.ids[:-1]):
            if (row, token) not in branches:
                branches[row, token] = len(tokens)
                tokens.append(token)
                parents.append(row)
                depths.append(depths[row] + 1 if row >= 0 else 0)
            row = branches[row, token]
            path.append(row)
        predictors += path[-len(answer.ids) :]
    return AnswerTree(
        tokens=tuple(tokens),
        depths=tuple(depths),
        parents=tuple(parents),
        predictors=tuple(predictors),
        targets=tuple(token for answer in answers for token in answer.ids),
        bounds=tuple(accumulate((len(answer.ids) for answer in answers), initial=0)),
        answers=answers,
    )
