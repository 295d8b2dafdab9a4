"""What an all-knowing observer says of a search: which hops' facts are known, and whether it helped.

Works for every question that names its evidence. In a generated world the document of a hop's entity is the
only one that states the hop's fact, so having retrieved it is having the fact; where a search shows the
beginnings of documents, having seen the sentence that states it is.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, TypeAlias

from igpo_gym.data.evidence import named_evidence, seen_evidence
from igpo_gym.episode import Episode, Question, ToolCalls

Usefulness: TypeAlias = Literal["useful", "redundant", "irrelevant"]


def known_hops(question: Question, found: Collection[str]) -> tuple[bool, ...]:
    """For each hop, in order, whether its evidence is among ``found``: what :func:`retrieved` or
    :func:`igpo_gym.data.evidence.seen_evidence` gives."""
    return tuple(evidence in found for evidence in question.evidence)


def judge_searches(episode: Episode) -> list[Usefulness | None]:
    """For each turn so far, what its calls were worth; None for a turn without any.

    Useful: they brought a hop's evidence that was not known, or for the first time a part of its document,
    which can then be opened. Redundant: they did not, and their best passage had been seen before, as much of
    it. Irrelevant: all else.
    """
    seen: set[tuple[str, str]] = set()
    known: frozenset[str] = frozenset()
    reached: frozenset[str] = frozenset()
    verdicts: list[Usefulness | None] = []
    for turn in episode.turns:
        found = [(passage.id, passage.text) for passage in turn.passages]
        evidence = seen_evidence(episode.question, [turn])
        documents = named_evidence(episode.question, turn.passages)
        if not isinstance(turn.action, ToolCalls):
            verdicts.append(None)
        elif evidence - known or documents - reached:
            verdicts.append("useful")
        elif found and found[0] in seen:
            verdicts.append("redundant")
        else:
            verdicts.append("irrelevant")
        seen.update(found)
        known |= evidence
        reached |= documents
    return verdicts


def retrieved(episode: Episode) -> frozenset[str]:
    """Those pieces of the question's evidence that an episode has found and seen."""
    return seen_evidence(episode.question, episode.turns)
