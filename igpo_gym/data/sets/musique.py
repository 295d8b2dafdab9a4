"""MuSiQue (Trivedi et al., 2022, arXiv 2108.00573): questions of two to four hops over twenty paragraphs
each.

JSON lines of ``{"id", "paragraphs": [{"idx", "title", "paragraph_text", "is_supporting"}], "question",
"question_decomposition": [{"id", "question", "answer", "paragraph_support_idx"}], "answer", "answer_aliases",
"answerable"}``. The evidence is the supporting paragraphs in the order of the decomposition, whose length is
the number of hops. The cut of R1-Searcher (``{"idx", "question", "answer"}``) is read as well.

Questions that their paragraphs do not answer are left out. With ``#unanswerable=true`` they are kept: their
answers are "unanswerable", "cannot be answered" and "unknown", their ids end in ``-unanswerable`` (the owners
give both of a pair one id), and every question of the set says that this is an answer.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from igpo_gym.data.answers import HINT, UNANSWERABLE
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.reading import GatheredPassages, read_set
from igpo_gym.data.rows import Row
from igpo_gym.episode import Question


def load_musique(path: str | Path, *, unanswerable: bool = False) -> QuestionSet:
    """The questions of a MuSiQue file, and the paragraphs of those that are kept.

    Raises DataError, with the line, for what is not such a file.
    """
    found = read_set("musique", path, lambda row, corpus: question(row, corpus, unanswerable))
    return replace(found, name=f"{found.name}#unanswerable=true") if unanswerable else found


def question(row: Row, corpus: GatheredPassages, unanswerable: bool = False) -> Question | None:
    """A record's question; its paragraphs are added to the corpus. None for one that is left out."""
    if row.get("idx") is not None and row.get("paragraphs") is None:
        return Question(row.id("idx"), row.text("question"), row.answers("answer"), source="musique")
    answerable = row.get("answerable")
    if answerable is False and not unanswerable:
        return None
    ids = {}
    for paragraph in row.objects("paragraphs"):
        part = Row(paragraph, row.number)
        ids[str(part.field("idx"))] = corpus.add(part.text("title"), part.text("paragraph_text").strip())
    steps = row.objects("question_decomposition")
    supports = [str(each) for step in steps if (each := step.get("paragraph_support_idx")) is not None]
    if unknown := [each for each in supports if each not in ids]:
        raise ValueError(f"'paragraph_support_idx' {unknown[0]:.60} is that of no paragraph")
    evidence = tuple(dict.fromkeys(ids[each] for each in supports))
    if not evidence:
        supporting = (each for each in row.field("paragraphs") if each.get("is_supporting"))
        evidence = tuple(dict.fromkeys(ids[str(each["idx"])] for each in supporting))
    text, hint = row.text("question"), HINT * unanswerable
    if answerable is False:
        id_ = f"{row.id('id')}-unanswerable"
        return Question(id_, text + hint, UNANSWERABLE, evidence, len(steps) or None, "musique")
    others = row.answers("answer_aliases") if row.get("answer_aliases") else ()
    answers = tuple(dict.fromkeys((*row.answers("answer"), *others)))
    return Question(row.id("id"), text + hint, answers, evidence, len(steps) or None, "musique")
