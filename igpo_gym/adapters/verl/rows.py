"""The rows of verl's data files: from questions to rows, and back to the question that a row asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from igpo_gym.adapters.session import question_messages
from igpo_gym.envs.questions import QuestionBook
from igpo_gym.episode import Question
from igpo_gym.errors import SpecError
from igpo_gym.protocols import CHAT

AGENT = "searchqa"
"""The agent loop's name: for ``rollout.agent.default_agent_loop``, and in the rows of :func:`dataset`."""


def dataset(**settings: Any) -> list[dict[str, Any]]:
    """A row for every question, with the columns that verl's ``RLHFDataset`` and the agent loop read.

    ``settings`` are the arguments of :class:`SearchQAEnv`. The rows name the questions of that set and hold
    no answers; those that ``igpo-gym data prepare --format verl`` writes hold both.
    """
    return [
        {
            "data_source": question.source or AGENT,
            "agent_name": AGENT,
            "prompt": messages,
            "reward_model": {"style": "environment", "ground_truth": ""},
            "extra_info": {"index": place, "question_id": question.id},
        }
        for place, (question, messages) in enumerate(question_messages(**{"protocol": CHAT, **settings}))
    ]


def asked(row: Mapping[str, Any], book: QuestionBook) -> Question:
    """The question of a row: that of the settings' set, which may know evidence, or the row's own.

    The set's is taken where its id and its text are the row's, so that a row of another set, such as one for
    validation, asks and is priced by what the row itself says. Raises SpecError for a row that tells neither
    a question of the set nor its own text and answers.

    >>> row = {"question": "Where?", "golden_answers": ["Danzig"], "extra_info": {"question_id": "q"}}
    >>> from igpo_gym.data.interface import QuestionSet
    >>> other = QuestionBook(QuestionSet("other", (Question("q", "Who?", ("Grass",)),)))
    >>> asked(row, other).text, asked({"extra_info": {"question_id": "q"}}, other).text
    ('Where?', 'Who?')
    """
    id_, text = row["extra_info"]["question_id"], row.get("question")
    known = book.get(id_)
    if known is not None and text in (None, known.text):
        return known
    if text is None:
        raise SpecError(
            f"a row names the question {id_!r}, which is not in the set of the agent loop's settings; make "
            "the file with igpo-gym data prepare QUESTIONS --format verl, whose rows tell their questions"
        )
    answers = tuple(str(answer) for answer in row["golden_answers"])
    return Question(id_, str(text), answers, source=str(row.get("data_source", "")))
