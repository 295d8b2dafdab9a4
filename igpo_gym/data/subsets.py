"""The options that every set of questions has: which of its questions are taken.

>>> from igpo_gym.data import resolve_questions
>>> len(resolve_questions("world:test#limit=20").questions)
20
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.world import read_hops
from igpo_gym.episode import Question
from igpo_gym.errors import SpecError
from igpo_gym.specs import Spec


def subset(
    questions: QuestionSet,
    *,
    hops: str | None = None,
    sources: str | None = None,
    limit: int | None = None,
    seed: int | None = None,
) -> QuestionSet:
    """Some questions of a set, in its order, with all of its passages.

    ``hops="2-3"`` takes those of so many hops, ``sources="nq+triviaqa"`` those of these sources; a source
    whose own name holds a "+" is meant where there is one.
    ``limit`` then takes the first so many, or with a ``seed`` so many at random: those whose hash of seed
    and id is lowest, so that the same are taken on any machine. From a file that has grown others are.

    Raises SpecError where no question is left, with what there is.
    """
    chosen: Sequence[Question] = questions.questions
    if hops is not None:
        low, high = read_hops(hops)
        found = [each for each in chosen if each.hops is not None and low <= each.hops <= high]
        chosen = found or _none(questions, f"hops={hops}", [each.hops for each in chosen])
    if sources is not None:
        there = {each.source for each in chosen}
        wanted = _names(sources, there)
        found = [each for each in chosen if each.source in wanted]
        if unknown := [name for name in wanted if name not in there]:
            _none(questions, f"sources={'+'.join(unknown)}", [each.source for each in chosen])
        chosen = found
    if seed is not None and limit is None:
        raise SpecError(f"{questions.name!r}: seed chooses at random which questions #limit=... takes")
    if limit is not None:
        if limit < 1:
            raise SpecError(f"{questions.name!r}: the limit must be at least 1, not {limit}")
        chosen = chosen[:limit] if seed is None else _drawn(chosen, limit, seed)
    given = {"hops": hops, "sources": sources, "limit": limit, "seed": seed}
    options = str(Spec("", {key: str(value) for key, value in given.items() if value is not None}))
    name = questions.name + (f",{options[1:]}" if "#" in questions.name else options)
    return replace(questions, name=name, questions=tuple(chosen))


def _names(text: str, there: Collection[str]) -> list[str]:
    """The names that "+" joins, the longest that are there.

    >>> _names("nq+c+++tq", {"nq", "c++", "tq"})
    ['nq', 'c++', 'tq']
    """
    names, left = [], text.split("+")
    while left:
        ends = range(len(left), 0, -1)
        end = next((end for end in ends if "+".join(left[:end]) in there), 1)
        names.append("+".join(left[:end]))
        del left[:end]
    return names


def _drawn(questions: Sequence[Question], limit: int, seed: int) -> list[Question]:
    ranks = {question.id: digest(seed, question.id) for question in questions}
    kept = set(sorted(ranks, key=lambda id_: (ranks[id_], id_))[:limit])
    return [question for question in questions if question.id in kept]


def digest(seed: int, text: str) -> int:
    """A number of 64 bits that is another for another seed or text, and the same everywhere."""
    made = hashlib.blake2b(f"{seed}:{text}".encode("utf-8", "surrogateescape"), digest_size=8)
    return int.from_bytes(made.digest(), "big")


def _none(questions: QuestionSet, wanted: str, found: Sequence[object]) -> Sequence[Question]:
    there = ", ".join(f"{'unknown' if key in (None, '') else key} ({n})" for key, n in Counter(found).items())
    raise SpecError(f"{questions.name!r} has no question with {wanted}; there are: {there:.300}")
