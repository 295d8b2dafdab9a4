"""The named errors of the package. A user's mistake is a ``ValueError`` that says what would be right.

Their ``args`` are those they were made with, so that they pass between processes (worker environments, runs
side by side).
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class SpecError(ValueError):
    """A name or setting that the package does not know; the message lists what it does know."""


class DataError(ValueError):
    """A file whose content is not what its format promises; the message names the file and the line."""

    def __init__(self, path: str | Path, problem: str, line: int | None = None) -> None:
        super().__init__(path, problem, line)

    def __str__(self) -> str:
        path, problem, line = self.args
        place = f"{path}, line {line}" if line is not None else f"{path}"
        return f"{place}: {problem}"


class DuplicateIdError(ValueError):
    """Two passages of a corpus with one id; its fields say which ones, for a message with file and line."""

    def __init__(self, id_: str, first: int, second: int) -> None:
        super().__init__(id_, first, second)
        self.id = id_
        self.first = first
        """The number of the first passage with this id, from 0."""
        self.second = second
        """The number of the next one."""

    def __str__(self) -> str:
        places = f"numbers {self.first} and {self.second} from 0"
        return f"two passages have the id {self.id!r} ({places}); ids must be unique"


class SearchError(RuntimeError):
    """A search backend that failed. Inside an episode it is retried, then reported to the agent."""


class ReplayError(RuntimeError):
    """A search that was not recorded, and so cannot be replayed: the run ends, for it is another run."""


class AccessError(RuntimeError):
    """A server that refuses the key, or a key that is missing: the run ends, for no retry helps."""


class ScoringError(RuntimeError):
    """A scorer that could not give a belief, after its retries."""


class JudgeError(ScoringError):
    """A judge that could not grade an answer, after its retries. It is never taken for a grade."""


class SamplingError(RuntimeError):
    """A policy that could not write a message, after its retries."""


class LearningError(RuntimeError):
    """An update that no model can be learned from: its gradient is not a finite number."""


class TranscriptTooLongError(ScoringError):
    """Transcripts longer than the scorer's model reads; the environment truncates their episodes."""

    def __init__(self, message: str, requests: tuple[int, ...], problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, requests, problems)
        self.requests = requests
        """The places, in the call, of the requests that are too long."""
        self.problems = problems or (message,) * len(requests)
        """What is wrong with each of these."""

    def __str__(self) -> str:
        return str(self.args[0])


class PromptTooLongError(ScoringError):
    """Prompts longer than the scorer's model reads, so that there is no first belief.

    ``places`` are those of their states among all that were asked about.
    """

    def __init__(self, message: str, question_ids: tuple[str, ...], places: tuple[int, ...] = ()) -> None:
        super().__init__(message, question_ids, places)
        self.question_ids = question_ids
        self.places = places

    def __str__(self) -> str:
        return str(self.args[0])


class BudgetSpentError(RuntimeError):
    """A run that its budget has ended between two pieces. All that is done is kept."""

    def __init__(self, done: int, total: int, what: str, spent: str) -> None:
        super().__init__(done, total, what, spent)

    def __str__(self) -> str:
        done, total, what, spent = self.args
        return (
            f"the budget is used up ({spent}): {done} of {total} {what} are done; the same command goes on, "
            "with the whole budget again"
        )


class MissingExtraError(ImportError):
    """An optional dependency that is not installed; the message gives the command that installs it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(feature, extra)

    def __str__(self) -> str:
        feature, extra = self.args
        return (
            f"{feature} needs an optional dependency: pip install 'igpo-gym[{extra}]', or from a checkout "
            f"pip install -e '.[{extra}]'"
        )


class OldLibraryError(ImportError):
    """A library that is here in a version with which the package does not work; the message has the cure."""

    def __init__(self, feature: str, needed: str, version: str) -> None:
        super().__init__(feature, needed, version)

    def __str__(self) -> str:
        feature, needed, version = self.args
        return f"{feature} needs {needed}, and {version} is installed: pip install '{needed}'"


def choose(table: Mapping[str, T], name: str, what: str) -> T:
    """Look ``name`` up in ``table``, or raise a SpecError that lists the names that exist.

    >>> choose({"pear": 1, "apple": 2}, "apples", "fruit")
    Traceback (most recent call last):
    igpo_gym.errors.SpecError: unknown fruit 'apples'; did you mean apple? Choose one of: apple, pear
    """
    check_known(name, sorted(table), what)
    return table[name]


def check_known(value: object, known: Collection[object], what: str) -> None:
    """Raise a SpecError that lists the known values, in their order, unless ``value`` is one of them."""
    if value not in known:
        raise SpecError(f"unknown {what} {value!r}; {choices(value, known)}")


def choices(value: object, known: Iterable[object], alike: float = 0.6) -> str:
    """What an error says behind a name that is not known: the nearest of those that are, and all of them.

    >>> choices("max_turn", ["max_turns", "top_k"]), choices("x", ["max_turns"])
    ('did you mean max_turns? Choose one of: max_turns, top_k', 'choose one of: max_turns')
    """
    names = [str(each) for each in known]
    hint = f"did you mean {found[0]}? Choose" if (found := near(str(value), names, alike)) else "choose"
    return f"{hint} one of: {', '.join(names)}"


def near(name: str, known: Iterable[str], alike: float) -> list[str]:
    """At most three known names that are like ``name``, whatever their case, the nearest first.

    ``alike`` is how much they are at least, in difflib's measure, from 0 to 1.
    """
    lower = {each.lower(): each for each in known}
    return [lower[each] for each in difflib.get_close_matches(name.lower(), lower, 3, alike)]


def first_line(problem: BaseException) -> str:
    """What another library's error says, in one line of at most 300 characters.

    >>> first_line(ValueError("no such file\\nTraceback of the parser: ..."))
    'no such file'
    """
    return str(problem).strip().partition("\n")[0][:300]
