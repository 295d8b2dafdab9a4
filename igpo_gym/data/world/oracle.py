"""What an all-knowing observer says of a search: which hops' facts are known, and whether it helped.

Works for every question that names its evidence. In a generated world the document of a hop's entity is the
only one that states the hop's fact, so having retrieved it is having the fact.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, TypeAlias

from igpo_gym.data.evidence import found_evidence
from igpo_gym.episode import Episode, Question, ToolCalls

Usefulness: TypeAlias = Literal["useful", "redundant", "irrelevant"]


def known_hops(question: Question, found: Collection[str]) -> tuple[bool, ...]:
    """For each hop, in order, whether its evidence is among what was found, named as the question does."""
    return tuple(evidence in found for evidence in question.evidence)


def judge_searches(episode: Episode) -> list[Usefulness | None]:
    """For each turn so far, what its search was worth; None for a turn that did not search.

    Useful: it brought a hop's evidence that was not known. Redundant: it did not, and its best passage had
    been seen before. Irrelevant: all else.
    """
    seen: set[str] = set()
    known: frozenset[str] = frozenset()
    verdicts: list[Usefulness | None] = []
    for turn in episode.turns:
        found = [passage.id for passage in turn.passages]
        evidence = found_evidence(episode.question, turn.passages)
        if not isinstance(turn.action, ToolCalls):
            verdicts.append(None)
        elif evidence - known:
            verdicts.append("useful")
        elif found and found[0] in seen:
            verdicts.append("redundant")
        else:
            verdicts.append("irrelevant")
        seen.update(found)
        known |= evidence
    return verdicts


def retrieved(episode: Episode) -> frozenset[str]:
    """Those pieces of the question's evidence that an episode has found."""
    passages = (passage for turn in episode.turns for passage in turn.passages)
    return found_evidence(episode.question, passages)
