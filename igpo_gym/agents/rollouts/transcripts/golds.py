"""Gold answers for transcripts that bring none: the questions of a set, found by id or by text."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from igpo_gym.agents.rollouts.transcripts.interface import About
from igpo_gym.data.evidence import matched
from igpo_gym.data.wording import forms
from igpo_gym.episode import Passage, Question


class Golds:
    """The questions of a set by id and by text; texts in the same words are one
    (:func:`igpo_gym.data.wording.forms`).

    ``passages`` are those of the set: they tell the titles of the evidence, by which it is found, since a
    transcript does not tell the ids of passages.

    >>> golds = Golds([Question("q1", "Where is it?", ("Danzig",)), Question("q2", "Who is it?", ("Oskar",))])
    >>> golds.question(About("where is it")).id, golds.question(About(id="q2")).answers
    ('q1', ('Oskar',))
    >>> golds.question(About("What is it?"))
    Traceback (most recent call last):
    ValueError: the set of questions has none of its text, nor of its id
    """

    def __init__(self, questions: Iterable[Question], passages: Iterable[Passage] = ()) -> None:
        titles = {passage.id: passage.title for passage in passages}
        self._by_id: dict[str, Question] = {}
        self._by_text: dict[str, list[Question]] = {}
        for question in (matched(question, "title", titles) for question in questions):
            self._by_id[question.id] = question
            for form in forms(question.text):
                self._by_text.setdefault(form, []).append(question)

    def question(self, told: About) -> Question:
        """The question that a transcript is about.

        An id counts where the texts agree, or where the transcript tells none. ValueError where there is no
        such question, and where several have the text and unlike answers.
        """
        named = self._by_id.get(told.id)
        known = forms(told.question) - {""}
        if named and (not known or not known.isdisjoint(forms(named.text))):
            return named
        found = chain.from_iterable(self._by_text.get(form, ()) for form in known)
        alike = list({question.id: question for question in found}.values())
        alike = [each for each in alike if each.text.strip() == told.question.strip()] or alike
        if len({question.answers for question in alike}) > 1:
            raise ValueError(
                f"the set of questions has {len(alike)} of its text, with unlike answers ({alike[0].id!r}, "
                f"{alike[1].id!r}), and its id is none of theirs"
            )
        if not alike:
            other = ", but its id is that of another text" if named else ", nor of its id"
            raise ValueError(f"the set of questions has none of its text{other}")
        return alike[0]
