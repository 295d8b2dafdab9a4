"""What adapters share: environments on one question set, one index and one scorer, and two protocols.

Most libraries make an environment object for every episode and step hundreds of them from threads or
coroutines. Here such an object costs next to nothing, and the beliefs that are asked for at the same time are
computed in one forward pass.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from functools import lru_cache
from types import TracebackType
from typing import Any

from igpo_gym import specs
from igpo_gym.data import resolve_questions
from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.setup import QuestionBook
from igpo_gym.envs.single import SearchQAEnv
from igpo_gym.episode import Question
from igpo_gym.protocols import TAGS, TextProtocol, resolve_protocol
from igpo_gym.scorers.batching import BatchingScorer
from igpo_gym.scorers.interface import AnswerScorer


class Sessions:
    """Makes :class:`SearchQAEnv` objects that share what is expensive.

    ``settings`` are the arguments of :class:`SearchQAEnv`. Each call gives an environment of its own, to be
    used by one thread at a time; different ones may be used at the same time.

    The thread that joins their beliefs ends when nobody holds the sessions or one of their environments any
    more. Use them as a context manager, or :meth:`close` them, to end it at once.

    >>> sessions = Sessions(questions="world#documents=60,questions=10", scorer=None, reward="outcome-f1")
    >>> one, other = sessions(), sessions()
    >>> one.engine is other.engine, one.reset(seed=1)[0] == other.reset(seed=1)[0]
    (True, True)
    """

    def __init__(self, **settings: Any) -> None:
        self._original = SearchQAEnv(**settings)
        self._fronts = ExitStack()
        scorer, reference = self.engine.scorer, self.engine.reference
        front = self._front(scorer)
        # A reference that is the scorer itself stays so: the engine asks it once for both.
        behind = front if reference is scorer else self._front(reference)
        self._original.engine = dataclasses.replace(self.engine, scorer=front, reference=behind)

    def __call__(self) -> SearchQAEnv:
        """An environment that has not been reset."""
        return copy.copy(self._original)

    def close(self) -> None:
        """End the threads; the environments then fail with ScoringError when they need the scorer. Safe to
        call again."""
        self._fronts.close()

    def __enter__(self) -> Sessions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def engine(self) -> Engine:
        """The rules that all of them play by."""
        return self._original.engine

    @property
    def questions(self) -> QuestionBook:
        """The questions that all of them draw from."""
        return self._original.questions

    def _front(self, scorer: AnswerScorer | None) -> AnswerScorer | None:
        if scorer is None or isinstance(scorer, BatchingScorer):
            return scorer
        return self._fronts.enter_context(BatchingScorer(scorer))


def shared_sessions(**settings: Any) -> Sessions:
    """:class:`Sessions`, the same again for equal settings: for libraries that make objects from settings.

    Raises TypeError for a setting that cannot be compared, such as a list of questions; give a tuple.
    """
    with specs.LOCK:  # threads that ask at the same time share what the first of them makes
        return _sessions(**settings)


@lru_cache(maxsize=8)
def _sessions(**settings: Any) -> Sessions:
    return Sessions(**settings)


def question_messages(
    questions: str | QuestionSet | Sequence[Question] = "world",
    protocol: str | TextProtocol = TAGS,
    **settings: Any,
) -> list[tuple[Question, list[dict[str, str]]]]:
    """Every question, and the messages that open an episode on it. They hold nothing of the gold answer.

    The other ``settings`` of an environment do not matter here: no index and no model is loaded.
    """
    grammar = resolve_protocol(protocol)
    return [
        (question, [{"role": segment.role, "content": segment.text} for segment in grammar.prompt(question)])
        for question in resolve_questions(questions).questions
    ]
