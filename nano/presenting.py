"""How documents are presented to a reader: shuffled, or shortened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

from igpo_gym.data.world import World
from igpo_gym.data.world.generator import Chain
from igpo_gym.episode import Passage, Question
from igpo_gym.search import Retriever


def stated(world: World, question: Question) -> dict[str, str]:
    """For each passage of the evidence, by its id, the words that its deciding sentence must hold."""
    plan = world.plan(world.number(question))
    if isinstance(plan, Chain):
        steps = pairwise(plan.entities)
        return {str(source): world.entity(target).name for source, target in steps}
    if plan.relation == "year":
        return {str(option): str(world.year(option)) for option in plan.options}
    return {str(option): world.entity(world.targets(option)[plan.relation]).name for option in plan.options}


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Presents what a search found: shuffled, so that rank says nothing, or shortened, so that there is less
    to read for each answer. A shortened document keeps the sentence that decides the question."""

    stated: Mapping[str, str]
    rng: Random
    brief: bool
    shuffle: bool

    def __call__(self, passages: Sequence[Passage]) -> list[Passage]:
        """The passages as they are to be read."""
        arranged = [self._shortened(passage) for passage in passages] if self.brief else list(passages)
        if self.shuffle:
            self.rng.shuffle(arranged)
        return arranged

    def _shortened(self, passage: Passage) -> Passage:
        sentences = passage.text.removesuffix(".").split(". ")
        needed = self.stated.get(passage.id)
        kept = [
            sentence
            for sentence in sentences
            if (needed is not None and needed in sentence) or self.rng.random() < 0.3
        ]
        return replace(passage, text=". ".join(kept or [self.rng.choice(sentences)]) + ".")


@dataclass(frozen=True, slots=True)
class Arranged:
    """A retriever whose passages come as an arrangement presents them."""

    retriever: Retriever
    arrange: Arrangement

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """What the retriever finds, as it is to be read."""
        return [self.arrange(found) for found in self.retriever.search(queries, k)]
