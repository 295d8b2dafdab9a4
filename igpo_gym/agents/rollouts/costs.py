"""What a run spends, and the budget that ends it between two pieces.

A piece is what is kept whole: an episode, a batch that is relabeled, an update, a priced group.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from typing import Any, TypeVar

from igpo_gym.episode import Episode, ToolCalls
from igpo_gym.errors import BudgetSpentError, SpecError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent, in numbers of calls, tokens and seconds.

    >>> Spent(messages=3, searches=2) + Spent(beliefs=4, tokens=100)
    Spent(messages=3, beliefs=4, searches=2, verdicts=0, tokens=100, seconds=0.0)
    """

    messages: float = 0
    """Messages that the agent was asked for."""
    beliefs: float = 0
    """Requests to scorers, as :class:`igpo_gym.scorers.interface.ScorerStats` counts them."""
    searches: float = 0
    """Queries, and calls of other tools."""
    verdicts: float = 0
    """Answers that a judge graded; of equal ones it is asked once, so it may have been asked less often."""
    tokens: float = 0
    """Tokens that models on this machine read, sampled or learned from, and those sent to a scorer's server.
    An agent's server is not asked for how many it read."""
    seconds: float = 0.0

    @property
    def calls(self) -> float:
        """Messages, beliefs, searches and verdicts together."""
        return self.messages + self.beliefs + self.searches + self.verdicts

    def __add__(self, other: Spent) -> Spent:
        return Spent(*(ours + theirs for ours, theirs in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Spent) -> Spent:
        return self + other * -1

    def __mul__(self, factor: float) -> Spent:
        return Spent(*(factor * ours for ours in astuple(self)))


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may spend; infinity where nothing is said.

    >>> Budget.parse("hours=2, tokens=5e6")
    Budget(calls=inf, tokens=5000000.0, hours=2.0)
    """

    calls: float = math.inf
    tokens: float = math.inf
    hours: float = math.inf

    @classmethod
    def parse(cls, text: str | None) -> Budget:
        """From ``NAME=NUMBER``, joined by commas; None has no bounds.

        Raises SpecError for another name, a name that comes twice, and what is no number above 0.
        """
        given: dict[str, float] = {}
        for part in text.split(",") if text is not None else ():
            name, _, number = (each.strip() for each in part.partition("="))
            if name in given or name not in (field.name for field in fields(cls)):
                raise SpecError(f"{part.strip()!r} is no part of a budget; {ADVICE}")
            try:
                given[name] = float(number)
            except ValueError:
                given[name] = math.nan
            if not 0 < given[name] < math.inf:
                raise SpecError(f"{name} of a budget must be a number above 0, not {number!r}; {ADVICE}")
        return cls(**given)

    def used_up(self, spent: Spent) -> bool:
        """Whether any of its bounds is reached."""
        return spent.calls >= self.calls or spent.tokens >= self.tokens or spent.seconds >= 3600 * self.hours


ADVICE = 'write it like "hours=2, tokens=5e6", with any of calls, tokens and hours, each once'


class Meter:
    """Counts what a run spends, and says when its budget is used up.

    What models do is read off their own counters (``stats``), from when they are watched; the rest is counted
    in the episodes that are told. Before its first piece a run is never over, so that each start gets on.

    >>> meter = Meter(Budget.parse("tokens=10"))
    >>> meter.over
    False
    >>> meter.add(Spent(tokens=12))
    >>> meter.over
    True
    """

    def __init__(
        self,
        budget: Budget = Budget(),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.budget = budget
        self._clock, self._began = clock, clock()
        self._told = Spent()
        self._models: dict[int, tuple[Any, Spent]] = {}
        self._pieces = 0

    def watch(self, *models: Any) -> None:
        """Count what these scorers and policies do from now on. One that has no ``stats`` is not counted."""
        for model in models:
            if hasattr(model, "stats") and id(model) not in self._models:
                self._models[id(model)] = model, _told_by(model)

    def saw(self, episode: Episode) -> None:
        """Count an episode that was played; it is a piece."""
        self.add(in_episode(episode))

    def add(self, spent: Spent) -> None:
        """Count a piece, with what it took beside what the models that are watched tell."""
        self._told += spent
        self._pieces += 1

    @property
    def spent(self) -> Spent:
        """Everything so far."""
        total = self._told + Spent(seconds=self._clock() - self._began)
        for model, before in self._models.values():
            total += _told_by(model) - before
        return total

    @property
    def over(self) -> bool:
        """Whether the budget is used up."""
        return self._pieces > 0 and self.budget.used_up(self.spent)

    def until(self, items: Iterable[T]) -> Iterator[T]:
        """The items, up to where the budget is used up."""
        for item in items:
            if self.over:
                return
            yield item

    def check(self, done: int, total: int, what: str) -> None:
        """Raise BudgetSpentError where the budget has left something undone."""
        if done < total and self.over:
            raise BudgetSpentError(done, total, what, told(self.spent))


def in_episode(episode: Episode) -> Spent:
    """What an episode itself tells; what a branch shares is told by the episode that it left.

    >>> from igpo_gym.episode import Question
    >>> from igpo_gym.protocols import TAGS
    >>> question = Question("q", "Where?", ("there",))
    >>> in_episode(Episode(question, TAGS.prompt(question)))
    Spent(messages=0, beliefs=0, searches=0, verdicts=0, tokens=0, seconds=0.0)
    """
    from igpo_gym.tools.searching import SEARCH, queries

    shared = 0 if episode.branch is None else episode.branch.turn
    actions = [turn.action for turn in episode.turns[shared:]]
    calls = [call for action in actions if isinstance(action, ToolCalls) for call in action.calls]
    others = sum(call.tool != SEARCH.name for call in calls)
    searches = sum(len(queries(action)) for action in actions) + others
    measured = episode.measured[0 if episode.branch is None else shared + 1 :]
    verdicts = sum(values.get("judge") is not None for values in measured)
    return Spent(messages=len(actions), searches=searches, verdicts=verdicts)


def told(spent: Spent) -> str:
    """In words.

    >>> told(Spent(messages=3, tokens=1200, seconds=90))
    '3 calls, 1200 tokens, 0.025 hours'
    """
    return f"{spent.calls:.0f} calls, {spent.tokens:.0f} tokens, {spent.seconds / 3600:.2g} hours"


def _told_by(model: Any) -> Spent:
    stats = model.stats
    tokens = sum(getattr(stats, name, 0) for name in ("tokens_forwarded", "tokens_read", "tokens_sampled"))
    return Spent(beliefs=getattr(stats, "requests", 0), tokens=tokens)
