"""Random documents in the place of those that a turn found: what its calls would have brought with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random

from igpo_gym.episode import Episode, Passage, ToolCall, ToolCalls, ToolResult
from igpo_gym.search.interface import Corpus, documents_of
from igpo_gym.tools.opening import OPEN, page_of


def found_documents(episode: Episode, turn: int) -> bool:
    """Whether turn ``turn`` found any document that random ones could stand in for."""
    return turn > 0 and bool(episode.turns[turn - 1].passages)


def drawn_passages(episode: Episode, turn: int, draw: int, corpus: Corpus) -> tuple[Passage, ...]:
    """As many random passages as the turn found, none of them among these; the same for every call.

    Raises ValueError if the corpus has too few.
    """
    found = {passage.id for passage in episode.turns[turn - 1].passages}
    rng = Random(f"{episode.question.id}/{turn}/{draw}")
    # Of twice as many numbers, at least half are those of other passages.
    numbers = rng.sample(range(len(corpus)), min(2 * len(found), len(corpus)))
    drawn = (corpus[number] for number in numbers)
    others = tuple(passage for passage in drawn if passage.id not in found)[: len(found)]
    if len(others) < len(found):
        raise ValueError(
            f"a corpus of {len(corpus)} passages has no {len(found)} others to put in the place of those "
            f"that turn {turn} of {episode.question.id!r} found"
        )
    return others


def results_with_others(
    episode: Episode, turn: int, draw: int, corpus: Corpus, page_chars: int
) -> list[ToolResult]:
    """The results of a turn with random passages for those that it found, each always for the same one.

    A search brings as many for each query, an ``open`` shows a page of another document, of at most
    ``page_chars`` characters, and what other tools say stays. Raises ValueError if the corpus has too few.
    """
    played = episode.turns[turn - 1]
    drawn = drawn_passages(episode, turn, draw, corpus)
    others = {passage.id: other for passage, other in zip(played.passages, drawn, strict=True)}
    calls = played.action.calls if isinstance(played.action, ToolCalls) else ()
    return [
        _with_others(call, result, others, corpus, page_chars)
        for call, result in zip(calls, played.results, strict=True)
    ]


def _with_others(
    call: ToolCall, result: ToolResult, others: Mapping[str, Passage], corpus: Corpus, page_chars: int
) -> ToolResult:
    passages = tuple(tuple(others[passage.id] for passage in found) for found in result.passages)
    if call.tool != OPEN.name or not any(passages):
        return replace(result, passages=passages)
    other, documents = passages[0][0], documents_of(corpus)
    document = (documents([other.id])[0] if documents else ()) or (other,)
    page = page_of(document, call.arguments.get("page", 1), page_chars)
    return page if page.passages else page_of(document, 1, page_chars)
