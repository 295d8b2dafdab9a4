"""From the records of a file to a set of questions: what all loaders share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.rows import Row, rows
from igpo_gym.episode import Passage, Question
from igpo_gym.errors import DataError
from igpo_gym.specs import fingerprint


class GatheredPassages:
    """The distinct passages that came with the questions so far.

    >>> corpus = GatheredPassages()
    >>> corpus.add("Danzig", "A port."), corpus.add("Danzig", "A city."), corpus.add("Danzig", "A port.")
    ('Danzig', 'Danzig#2', 'Danzig')
    """

    def __init__(self) -> None:
        self.by_id: dict[str, Passage] = {}

    def add(self, title: str, text: str) -> str:
        """The id of the passage with this title and text, which is added if it is new.

        It is the title; where that comes with another text it is ``title#2``, then ``#3``, and so on.
        """
        id_ = numbered(title, lambda id_: id_ in self.by_id and self.by_id[id_].text != text)
        self.by_id.setdefault(id_, Passage(id_, title, text))
        return id_


def numbered(name: str, taken: Callable[[str], bool]) -> str:
    """The first of ``name``, ``name#2``, ``name#3``, ... that is not taken by another text.

    >>> numbered("Danzig", {"Danzig", "Danzig#2"}.__contains__)
    'Danzig#3'
    """
    id_, count = name, 1
    while taken(id_):
        count += 1
        id_ = f"{name}#{count}"
    return id_


Read: TypeAlias = Callable[[Row, GatheredPassages], Question | None]
"""What makes a question of a record, or leaves it out; ValueError says what is wrong with the record."""


WITHIN = "data"
"""The field of a JSON object in which TriviaQA, SQuAD and others have all of their records."""


def read_set(
    name: str,
    path: str | Path,
    read: Read,
    *,
    parts: Callable[[Row], Iterable[Row]] = lambda row: (row,),
    version: int = 1,
    records: Iterable[Row] | None = None,
) -> QuestionSet:
    """The questions of a file and the passages that ``read`` adds.

    The records of a JSON object may all stand in its field ``data``. ``parts`` are those of a record that
    holds several questions. ``version`` is that of how passages are made, part of the fingerprint under which
    an index of them is kept. ``records`` stand in the place of the file's; an index of theirs is not kept.

    Raises DataError, with the line, entry or row, for what is wrong, and for a file without questions.
    """
    path = Path(path)
    questions: dict[tuple[str, str], Question] = {}
    corpus, left_out = GatheredPassages(), 0
    for row in rows(path, WITHIN) if records is None else records:
        try:
            for part in parts(row):
                question = read(part, corpus)
                left_out += question is None
                if question is not None:
                    key = question.source, question.id
                    if key in questions:
                        raise ValueError(f"the question id {question.id!r} comes a second time")
                    questions[key] = question
        except DataError:
            raise
        except ValueError as error:
            raise row.wrong(path, error) from None
        except RecursionError:
            raise row.wrong(path, "a field is nested too deeply") from None
    if not questions:
        told = f"; all {left_out} of its records are left out" if left_out else ""
        raise DataError(path, f"the file has no questions{told}")
    return QuestionSet(
        name=f"{name}:{path}",
        questions=told_apart(questions.values()),
        passages=tuple(corpus.by_id.values()),
        fingerprint=f"{name}-{version}-{fingerprint(path)}" if corpus.by_id and records is None else "",
        left_out=left_out,
    )


def told_apart(questions: Iterable[Question]) -> tuple[Question, ...]:
    """The questions; where sources share ids, each id begins with its source.

    >>> nq = Question("1", "Where?", ("Danzig",), source="nq")
    >>> tq = Question("1", "Who?", ("Oskar",), source="tq")
    >>> [question.id for question in told_apart([nq, tq])]
    ['nq/1', 'tq/1']
    """
    questions = tuple(questions)
    if len({question.id for question in questions}) == len(questions):
        return questions
    return tuple(replace(question, id=f"{question.source}/{question.id}") for question in questions)
