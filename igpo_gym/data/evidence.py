"""Which passages of a corpus are a question's gold evidence: by their ids, or by their titles.

A question names its evidence by the ids of its own corpus. In another corpus the same documents have other
ids, and are known by their titles: as Unicode has them (NFKC), without letter case and with single spaces; a
disambiguation in parentheses is part of the title.

>>> question = Question("q", "Who?", ("Grass",), ("drum",), evidence_titles=("The Tin Drum",))
>>> question = replace(question, evidence_match="title")
>>> found_evidence(question, [Passage("26366", "the tin  drum", "A novel.")])
frozenset({'drum'})
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import EvidenceMatch, Passage, Question, Turn
from igpo_gym.errors import SpecError
from igpo_gym.text import folded, neutralize

_SAMPLE = 32
"""How many questions of each source are looked at to tell how evidence is matched."""

_THOROUGH = 300
"""How many questions' titles are searched for before evidence is said to be nowhere in a corpus."""

_DEEP = 10
"""How many passages a search for a title brings."""


def normal_title(title: str) -> str:
    """A title as titles are compared.

    >>> normal_title("  Émile (novel)") == normal_title("E\\u0301MILE  (Novel)") != normal_title("Émile")
    True
    """
    return " ".join(folded(title).split())


def found_evidence(question: Question, passages: Iterable[Passage]) -> frozenset[str]:
    """Those of ``question.evidence`` that are among the passages, and say what they have to say.

    >>> question = Question("q", "Who?", ("Grass",), ("drum",), evidence_texts=("Grass wrote it.",))
    >>> found_evidence(question, [Passage("drum", "The Tin Drum", "It is a novel.")])
    frozenset()
    >>> found_evidence(question, [Passage("drum", "The Tin Drum", "It is a novel. Grass wrote it.")])
    frozenset({'drum'})
    """
    passages = tuple(passages)
    if question.evidence_texts:
        return _found_texts(question, passages)
    return named_evidence(question, passages)


def seen_evidence(question: Question, turns: Iterable[Turn]) -> frozenset[str]:
    """Those of ``question.evidence`` that turns have found, and whose replies show what they have to say.

    A reply may show a passage in part: cut at a limit, or a page of it.

    >>> from igpo_gym.episode import Invalid, ToolResult
    >>> question = Question("q", "Who?", ("Grass",), ("drum",), evidence_texts=("Grass wrote it.",))
    >>> drum = Passage("drum", "The Tin Drum", "It is a novel. Grass wrote it.")
    >>> turn = Turn("", Invalid(""), results=(ToolResult(passages=((drum,),)),), observation="It is a novel.")
    >>> seen_evidence(question, [turn]), seen_evidence(question, [replace(turn, observation=drum.text)])
    (frozenset(), frozenset({'drum'}))
    """
    if not question.evidence_texts:
        return found_evidence(question, (passage for turn in turns for passage in turn.passages))
    needed = dict(zip(question.evidence, question.evidence_texts, strict=True))
    return frozenset(
        each
        for turn in turns
        for each in _found_texts(question, turn.passages)
        if _shows(turn.observation, needed[each])
    )


def _shows(reply: str, text: str) -> bool:
    """Whether a reply holds a text, as it is or within JSON; white space does not matter."""
    shown, written = _plain(reply), (text, json.dumps(text, ensure_ascii=False)[1:-1])
    return any(_plain(each) in shown for each in written)


def _plain(text: str) -> str:
    return " ".join(neutralize(text).split())


def _found_texts(question: Question, passages: Sequence[Passage]) -> frozenset[str]:
    needed = dict(zip(question.evidence, question.evidence_texts, strict=True))
    found = ((passage, named_evidence(question, [passage])) for passage in passages)
    return frozenset(each for passage, named in found for each in named if needed[each] in passage.text)


def named_evidence(question: Question, passages: Sequence[Passage]) -> frozenset[str]:
    """Those of ``question.evidence`` of which the passages are, or are a part."""
    found: set[str] = set()
    match = question.evidence_match
    if match in ("id", "id or title"):
        found.update(passage.id for passage in passages)
        found.intersection_update(question.evidence)
    if match in ("title", "id or title"):
        there = {normal_title(passage.title) for passage in passages}
        titles = question.evidence_titles or question.evidence
        pairs = zip(question.evidence, titles, strict=True)
        found.update(evidence for evidence, title in pairs if normal_title(title) in there)
    return frozenset(found)


def titles_of(question: Question, titles: Mapping[str, str]) -> tuple[str, ...]:
    """The titles of a question's evidence: its own, or those that passages have by their ids, or the ids.

    >>> titles_of(Question("q", "Who?", ("Grass",), ("drum", "Danzig")), {"drum": "The Tin Drum"})
    ('The Tin Drum', 'Danzig')
    """
    return question.evidence_titles or tuple(titles.get(each, each) for each in question.evidence)


def matched(question: Question, match: EvidenceMatch, titles: Mapping[str, str]) -> Question:
    """The question, whose evidence is found in that way; ``titles`` are those of passages by their ids."""
    if match == "id" or not question.evidence:
        return question
    return replace(question, evidence_titles=titles_of(question, titles), evidence_match=match)


def match_evidence(questions: QuestionSet, retriever: Any) -> QuestionSet:
    """The questions, each saying how its evidence is found in the corpus of a retriever, not their own.

    By id, where the corpus is on this machine and has those ids; else by title, where a loader or the
    questions' own passages tell the titles, or where the evidence itself is a title of the corpus. Where the
    corpus is elsewhere and no title is known, either will do: no server is asked. What is none of these is
    "none". All questions of one source are taken alike, by the first of them.
    """
    samples: dict[str, list[Question]] = {}
    for question in questions.questions:
        if question.evidence and len(own := samples.setdefault(question.source, [])) < _SAMPLE:
            own.append(question)
    if not samples:
        return questions
    titles = {passage.id: passage.title for passage in questions.passages}
    matches = {source: _match(sample, titles, retriever) for source, sample in samples.items()}
    if set(matches.values()) != {"id"}:
        changed = (matched(each, matches.get(each.source, "id"), titles) for each in questions.questions)
        questions = replace(questions, questions=tuple(changed))
    if titles or not _is_local(retriever):
        return questions
    return replace(questions, documents=retriever.documents)


def require_evidence(reader: str, questions: QuestionSet) -> None:
    """Raise SpecError where a question names no evidence, which ``reader`` (in words) reads."""
    for question in questions.questions:
        if not question.evidence:
            raise SpecError(
                f"{reader} needs gold evidence, but question {question.id!r} of {questions.name!r} names none"
            )


def check_evidence(reader: str, questions: QuestionSet, retriever: Any = None) -> None:
    """Raise SpecError where ``reader`` (in words) would find no evidence in the corpus that is searched.

    That is: a question's evidence is neither an id nor a title there, or a corpus on this machine has none of
    the titles.
    """
    missing = next((each for each in questions.questions if each.evidence_match == "none"), None)
    by_title = [each for each in questions.questions[:_THOROUGH] if each.evidence_match == "title"]
    if missing is None and by_title and _is_local(retriever):
        titles = [title for each in by_title for title in each.evidence_titles or each.evidence]
        missing = None if _has_titles(retriever, titles) else by_title[0]
    if missing is not None:
        raise SpecError(
            f"{reader} needs gold evidence, but that of question {missing.id!r} of {questions.name!r} is "
            "neither an id nor a title of the corpus; give search= the corpus that the questions are about"
        )


def _match(sample: Sequence[Question], titles: Mapping[str, str], retriever: Any) -> EvidenceMatch:
    named = {
        evidence: title
        for question in sample
        for evidence, title in zip(question.evidence, titles_of(question, titles), strict=True)
    }
    known = any(question.evidence_titles for question in sample) or not titles.keys().isdisjoint(named)
    if not _is_local(retriever):
        return "title" if known else "id or title"
    documents = zip(named.values(), retriever.documents(list(named)), strict=True)
    if any(document and (not known or _same(document[0].title, title)) for title, document in documents):
        return "id"
    return "title" if known or _has_titles(retriever, list(named)) else "none"


def _is_local(retriever: Any) -> bool:
    """Whether a retriever holds its corpus, and gives documents: nothing is asked over a network."""
    return hasattr(retriever, "documents") and hasattr(retriever, "__len__")


def _same(left: str, right: str) -> bool:
    return normal_title(left) == normal_title(right)


def _has_titles(retriever: Any, titles: Sequence[str]) -> bool:
    """Whether a search for any of the titles brings a passage of that title."""
    found = zip(titles, retriever.search(titles, _DEEP), strict=True)
    return any(_same(title, passage.title) for title, passages in found for passage in passages)
