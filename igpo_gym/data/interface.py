"""What a data set gives: questions, and sometimes the corpus that answers them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from igpo_gym.data.flaws import Flaws
from igpo_gym.data.metrics import normalize
from igpo_gym.episode import Passage, Question


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Questions with unique ids, at least one, and the passages that came with them.

    >>> from igpo_gym.data import resolve_questions
    >>> questions = resolve_questions("world:test")
    >>> questions.name, len(questions.questions), len(questions.passages)
    ('world:test', 500, 500)
    """

    name: str
    """The spec that made it, for messages and records."""
    questions: Sequence[Question] = field(repr=False)
    passages: Sequence[Passage] = field(default=(), repr=False)
    """The data set's own corpus; empty where it has none."""
    fingerprint: str = ""
    """A hash of the passages' source, under which an index of them may be cached; empty: do not cache."""
    left_out: int = field(default=0, kw_only=True)
    """How many records of its file are left out on purpose, as MuSiQue's unanswerable ones."""
    documents: Callable[[Sequence[str]], Sequence[Sequence[Passage]]] | None = field(
        default=None, repr=False, compare=False, kw_only=True
    )
    """Gives the documents of passage ids, where the questions are about a corpus that they do not bring."""
    flaws: Flaws = field(default=Flaws(), kw_only=True)
    """What the search over a corpus of these questions lacks, whatever retriever it is made with."""

    def kind(self, question: Question) -> str:
        """What kind of thing the answer is; here by the form of its text alone.

        >>> QuestionSet("one", (asked := Question("q", "When?", ("17 May 1790",)),)).kind(asked)
        'number'
        """
        answer = normalize(question.answers[0])
        if answer in ("yes", "no", "unanswerable"):
            return answer if answer == "unanswerable" else "yes or no"
        return "number" if any(map(str.isdigit, answer)) else f"{min(len(answer.split()), 4)} words"
