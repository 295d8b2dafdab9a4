"""A question, with the answers and the evidence that are right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import index
from typing import Literal, SupportsIndex

EvidenceMatch = Literal["id", "title", "id or title", "none"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its gold answers. An id may be a whole number, and lists become tuples.

    Raises ValueError when the text or the answers are empty, and for fields of other types.

    >>> question = Question("q1", "Who wrote The Tin Drum?", ("Günter Grass", "Grass"), evidence=("drum",))
    >>> question.answers[0], question.hops
    ('Günter Grass', None)
    >>> Question("q2", "Who?", ("",))
    Traceback (most recent call last):
    ValueError: question 'q2' has no answer, or an empty one
    """

    id: str
    text: str
    answers: tuple[str, ...]
    """The gold answer and its aliases; any of them is right."""
    evidence: tuple[str, ...] = ()
    """Ids of the passages that hold the answer's evidence, in the order of the hops; empty if unknown."""
    hops: int | None = None
    """How many facts must be chained, if known."""
    source: str = ""
    """The data set that the question comes from."""
    protected: bool = False
    """Whether it is of a set whose texts must not be published in the clear: files that are written of it
    hold hashes in their place (docs/data.md)."""
    parts: tuple[str, ...] = ()
    """Of an answer in parts, as a dictionary's keys and values: their texts, for metrics that count those
    that a prediction names (:func:`igpo_gym.data.parts.parts_of`)."""
    evidence_titles: tuple[str, ...] = ()
    """The titles of ``evidence``, one for each, where known: another corpus has other ids."""
    evidence_match: EvidenceMatch = "id"
    """How the evidence is found among the passages of the corpus that is searched, which an environment finds
    out (:mod:`igpo_gym.data.evidence`)."""
    evidence_texts: tuple[str, ...] = ()
    """What a passage has to say to be ``evidence``, a text for each, where a search may show less than all of
    a document: the sentence that decides. Empty where having the passage is enough."""

    def __post_init__(self) -> None:
        if not isinstance(self.id, str):
            if not isinstance(self.id, SupportsIndex) or isinstance(self.id, bool):
                raise ValueError(f"the id of a question must be a text, not {type(self.id).__name__}")
            object.__setattr__(self, "id", str(index(self.id)))
        for name in ("text", "source"):
            if not isinstance(value := getattr(self, name), str):
                raise ValueError(f"the {name} of question {self.id!r} is no text, but {type(value).__name__}")
        if not self.text.strip():
            raise ValueError(f"question {self.id!r} has no text")
        for name in ("answers", "evidence", "parts", "evidence_titles", "evidence_texts"):
            texts = getattr(self, name)
            if not isinstance(texts, tuple):
                if isinstance(texts, str) or not isinstance(texts, Iterable):
                    raise ValueError(f"question {self.id!r}: {name} must be a tuple of texts, not one text")
                object.__setattr__(self, name, tuple(texts))
            if not all(isinstance(each, str) for each in getattr(self, name)):
                raise ValueError(f"question {self.id!r}: one of its {name} is no text")
        if self.hops is not None:
            if not isinstance(self.hops, SupportsIndex) or isinstance(self.hops, bool):
                raise ValueError(f"question {self.id!r}: hops must be a whole number or None")
            object.__setattr__(self, "hops", index(self.hops))
        if not self.answers or not all(answer.strip() for answer in self.answers):
            raise ValueError(f"question {self.id!r} has no answer, or an empty one")
        if self.evidence_titles and len(self.evidence_titles) != len(self.evidence):
            raise ValueError(f"question {self.id!r} has not as many titles of evidence as pieces of it")
        if self.evidence_texts and len(self.evidence_texts) != len(self.evidence):
            raise ValueError(f"question {self.id!r} has not as many texts of evidence as pieces of it")
