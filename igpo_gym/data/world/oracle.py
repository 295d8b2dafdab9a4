"""What an all-knowing observer says of a search: which hops' facts are known, and whether it helped.

Works for every question that names its evidence. In a generated world the document of a hop's entity is the
only one that states the hop's fact, so having retrieved it is having the fact.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, TypeAlias

from igpo_gym.episode import Episode, Question, ToolCalls

Usefulness: TypeAlias = Literal["useful", "redundant", "irrelevant"]


def known_hops(question: Question, passage_ids: Collection[str]) -> tuple[bool, ...]:
    """For each hop, in order, whether its evidence is among the passages."""
    return tuple(passage in passage_ids for passage in question.evidence)


def judge_searches(episode: Episode) -> list[Usefulness | None]:
    """For each turn so far, what its search was worth; None for a turn that did not search.

    Useful: it brought a hop's evidence that was not known. Redundant: it did not, and its best passage had
    been seen before. Irrelevant: all else.
    """
    seen: set[str] = set()
    verdicts: list[Usefulness | None] = []
    for turn in episode.turns:
        found = [passage.id for passage in turn.passages]
        if not isinstance(turn.action, ToolCalls):
            verdicts.append(None)
        elif any(passage in episode.question.evidence and passage not in seen for passage in found):
            verdicts.append("useful")
        elif found and found[0] in seen:
            verdicts.append("redundant")
        else:
            verdicts.append("irrelevant")
        seen.update(found)
    return verdicts


def retrieved(episode: Episode) -> frozenset[str]:
    """The ids of all passages that an episode's searches have found."""
    return frozenset(passage.id for turn in episode.turns for passage in turn.passages)
