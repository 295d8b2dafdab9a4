"""What adapters share: environments on one question set, one index and one scorer, and their settings.

Most libraries make an environment object for every episode and step hundreds of them from threads or
coroutines. Here such an object costs next to nothing. What is asked at the same time is joined
(:mod:`igpo_gym.batching`): the beliefs of threads, and the whole steps of coroutines.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from types import TracebackType
from typing import Any

import igpo_gym.specs as specs
from igpo_gym.config import EnvConfig, Names, SpecOrObject, kinds, make_config, marks, meanings, shown
from igpo_gym.data import resolve_questions
from igpo_gym.envs.asynchronous import AsyncSearchQA, Steps, steps_of
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.questions import QuestionBook
from igpo_gym.envs.single import SearchQAEnv
from igpo_gym.episode import Passage, Question
from igpo_gym.errors import SpecError
from igpo_gym.protocols import resolve_protocol
from igpo_gym.scorers.batching import BatchingScorer
from igpo_gym.scorers.interface import AnswerScorer
from igpo_gym.text import without_credentials
from igpo_gym.tools import resolve_tools
from igpo_gym.transport import API_KEY


class Sessions:
    """Makes :class:`SearchQAEnv` objects that share what is expensive.

    They take the arguments of :class:`SearchQAEnv`. Each call gives an environment of its own, to be
    used by one thread at a time; different ones may be used at the same time. :meth:`coroutine` gives one for
    coroutines.

    The threads that join what they ask end when nobody holds the sessions or one of their environments any
    more. Use them as a context manager, or :meth:`close` them, to end it at once.

    >>> sessions = Sessions(questions="world#documents=60,questions=10", scorer=None, reward="outcome-f1")
    >>> one, other = sessions(), sessions()
    >>> one.engine is other.engine, one.reset(seed=1)[0] == other.reset(seed=1)[0]
    (True, True)
    """

    def __init__(self, config: EnvConfig | Mapping[str, Any] | None = None, **settings: Any) -> None:
        self._original = SearchQAEnv(config, **settings)
        self._fronts = ExitStack()
        self._steps: Steps | None = None
        scorer, reference = self.engine.scorer, self.engine.reference
        front = self._front(scorer)
        # A reference that is the scorer itself stays so: the engine asks it once for both.
        behind = front if reference is scorer else self._front(reference)
        self._original.engine = replace(self.engine, scorer=front, reference=behind)

    def __call__(self) -> SearchQAEnv:
        """An environment that has not been reset."""
        env = copy.copy(self._original)
        env.action_space = copy.deepcopy(env.action_space)  # which has a generator of its own
        return env

    def coroutine(self) -> AsyncSearchQA:
        """An environment for coroutines that has not been reset; those of all of them share batches."""
        with specs.LOCK:
            if self._steps is None:
                self._steps = steps_of(self.engine)
                self._fronts.callback(self._steps.close)  # before the fronts, which it asks
            return AsyncSearchQA.of(self(), self._steps)

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

    @property
    def described(self) -> dict[str, Any]:
        """The settings as they are shown and stored: without the credentials of URLs."""
        return shown(self._original.config)

    def _front(self, scorer: AnswerScorer | None) -> AnswerScorer | None:
        if scorer is None or isinstance(scorer, BatchingScorer):
            return scorer
        return self._fronts.enter_context(BatchingScorer(scorer))


def shared_sessions(config: EnvConfig | Mapping[str, Any] | None = None, **settings: Any) -> Sessions:
    """:class:`Sessions`, the same again for equal settings: for libraries that make objects from settings.

    Lists count as equal where their elements do; a setting that cannot be compared is equal to itself alone.
    One that names a file which has changed, or a name that stands for something else now, is another one.
    """
    chosen = make_config(config, settings)
    given = tuple(_Given.of(getattr(chosen, field.name)) for field in fields(EnvConfig))
    named = (getattr(chosen, name) for name in marks(EnvConfig, Names))
    state = [specs.fingerprint(value) for value in named if isinstance(value, str)]
    with specs.LOCK:  # threads that ask at the same time share what the first of them makes
        return _sessions(given, (specs.changes(), *state))


@dataclass(frozen=True, eq=False, slots=True)
class _Given:
    """A value of a setting, and what stands for it in comparisons."""

    value: Any
    key: Hashable

    @classmethod
    def of(cls, value: Any) -> _Given:
        if isinstance(value, Sequence) and not isinstance(value, str | tuple):
            value = tuple(value)
        try:
            hash(value)
        except TypeError:
            return cls(value, id(value))  # the value is held here, so that its id stays its own
        return cls(value, (type(value), value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Given) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@lru_cache(maxsize=8)
def _sessions(settings: tuple[_Given, ...], state: tuple[Hashable, ...]) -> Sessions:
    """``state`` is that of what the settings name."""
    names = (field.name for field in fields(EnvConfig))
    return Sessions(**{name: setting.value for name, setting in zip(names, settings, strict=True)})


@dataclass(frozen=True, slots=True)
class Setting:
    """An argument of an environment, as a library's own configuration declares it."""

    kind: Any
    """Its type, where what takes objects takes texts."""
    default: Any
    meaning: str


def declared_settings(*without: str) -> dict[str, Setting]:
    """The arguments of :class:`SearchQAEnv` by name, but for some.

    >>> declared_settings()["top_k"]
    Setting(kind=<class 'int'>, default=3, meaning='Passages that a query brings.')
    """
    types, words = kinds(EnvConfig), meanings(EnvConfig)
    return {
        field.name: Setting(
            str | None if types[field.name] is SpecOrObject else types[field.name],
            field.default,
            words[field.name],
        )
        for field in fields(EnvConfig)
        if field.name not in without
    }


def refuse_credentials(settings: Mapping[str, Any]) -> None:
    """Raise SpecError for a URL with a password: for libraries that write their configuration into logs and
    files.

    >>> refuse_credentials({"scorer": "http://me:secret@host:8000/v1"})
    Traceback (most recent call last):
    igpo_gym.errors.SpecError: scorer: this library writes its configuration into logs, and a password ...
    """
    for name, value in settings.items():
        if without_credentials(value) != value:
            raise SpecError(
                f"{name}: this library writes its configuration into logs, and a password in a URL with it; "
                f"give the key in the environment variable {API_KEY}"
            )


def pydantic_settings(base: Any, settings: Mapping[str, Setting]) -> Any:
    """A model of pydantic: the fields of ``base``, and :func:`declared_settings`, to derive from.

    A URL with a password is refused in all fields that ``base`` does not have, those of derived models
    included. Values are not shown in errors.
    """
    from pydantic import ConfigDict, Field, create_model, model_validator

    class Refusing(base):
        model_config = ConfigDict(hide_input_in_errors=True)

        @model_validator(mode="after")
        def _without_passwords(self) -> Any:
            own = type(self).model_fields.keys() - base.model_fields.keys()
            refuse_credentials({name: getattr(self, name) for name in own})
            return self

    made: dict[str, Any] = {
        name: (each.kind, Field(each.default, description=each.meaning)) for name, each in settings.items()
    }
    return create_model("Arguments", __base__=Refusing, **made)


class _Nowhere:
    """Stands for the retriever where tools are only described."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        return [[] for _ in queries]

    def documents(self, ids: Sequence[str]) -> list[list[Passage]]:
        return [[] for _ in ids]


def question_messages(
    config: EnvConfig | Mapping[str, Any] | None = None, **settings: Any
) -> list[tuple[Question, list[dict[str, str]]]]:
    """Every question, and the messages that open an episode on it. They hold nothing of the gold answer.

    The arguments are those of :class:`SearchQAEnv`; no index and no model is loaded.
    """
    chosen = make_config(config, settings)
    asked = resolve_questions(chosen.questions)
    tools = resolve_tools(chosen.tools, retriever=_Nowhere(), top_k=chosen.top_k, questions=asked)
    protocol = resolve_protocol(chosen.protocol).with_tools(tool.spec for tool in tools)
    return [
        (question, [{"role": segment.role, "content": segment.text} for segment in protocol.prompt(question)])
        for question in asked.questions
    ]
