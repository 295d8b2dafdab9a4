"""What a reward term is, and the instruments that measure what it reads.

A term that measures something new is one file: the instrument, and the term that names it.

>>> class Length:
...     name, version = "length", "1"
...     def measure(self, states):
...         return [sum(len(turn.message) for turn in episode.turns[:turn]) for episode, turn in states]
>>> brevity = RewardTerm(
...     "brevity", lambda episode, turn: -episode.measured[turn]["length"] / 1000, instruments=(Length(),)
... )
>>> brevity.cost
'length'
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, SupportsIndex, TypeAlias, get_args

import igpo_gym.specs as specs
from igpo_gym.episode import BELIEF, BeliefView, Episode
from igpo_gym.parameters import make, read_call

Price: TypeAlias = Callable[[Episode, int], float]
"""The value of a turn, counted from 1. It may look at anything up to and including its turn."""
Need: TypeAlias = Literal["scorer", "reference", "corpus", "policy", "judge", "questions", "evidence"]
State: TypeAlias = tuple[Episode, int]
"""An episode as it was after so many turns; 0: the prompt alone."""


class Judge(Protocol):
    """Grades answers. Where it has a ``version``, a text, verdicts of equal versions are comparable."""

    def grade(
        self, questions: Sequence[str], answers: Sequence[Sequence[str]], predictions: Sequence[str]
    ) -> Sequence[str]:
        """A verdict for each: "correct", "incorrect" or "not attempted".

        ``answers`` are the gold answers of each question, any of which is right. Whatever it raises, the
        step is undone: a judge that fails raises, and gives no grade.
        """
        ...


class Instrument(Protocol):
    """Measures states of episodes.

    An instrument is asked once a step for all states: that of the prompt, and that after every turn, the last
    included. The values stand in ``episode.measured[turn][name]`` and in the record, and a later relabeling
    takes them from there if the version is the same.
    """

    @property
    def name(self) -> str:
        """Under which the values stand. Two instruments of unlike settings have unlike names."""
        ...

    @property
    def version(self) -> str:
        """What else decides the values, such as a judge's model and prompt; empty if that cannot be told."""
        ...

    def measure(self, states: Sequence[State]) -> Sequence[Any]:
        """A JSON value for each state, in order. It looks at no turn behind the state's, and changes nothing.

        Whatever it raises, the step is undone.
        """
        ...


@dataclass(frozen=True, slots=True)
class RewardTerm:
    """One named part of a reward.

    >>> from igpo_gym.rewards import make_term
    >>> term = make_term("gain", context="evidence")
    >>> term.name, term.outcome, sorted(term.needs), term.formula
    ('gain(context=evidence)', False, ['scorer'], 'b_t - b_{t-1}')
    """

    name: str
    price: Price
    """The unweighted value of a turn."""
    views: tuple[BeliefView, ...] = ()
    """The beliefs that the price reads, with ``episode.belief(turn, view)``."""
    instruments: tuple[Instrument | str, ...] = ()
    """Measure what the price reads as ``episode.measured[turn][name]``: objects, or registered names with
    parameters such as ``value(completions=8)``, which are made from what the environment has."""
    evidence: bool = False
    """Whether the questions must name their gold passages."""
    outcome: bool = False
    """Whether it pays for how the episode ends, and not for what a turn brings."""
    last_turn: bool = False
    """Of a term that is no outcome: whether it pays on the last turn of an episode too. A reward without such
    a term has no gain there: the outcome alone pays that turn, and a 0 is not averaged in."""
    counts: Callable[[Episode, int], bool] | None = None
    """Of a term that is no outcome: whether it says anything of a turn. One that no term counts has no gain,
    and is a member of no set that gains are normalized in. None: it counts all turns."""
    tools: frozenset[str] = frozenset()
    """The tools that it asks for by name; an environment without one of them refuses the reward."""
    searches: bool = False
    """Whether it reads what was searched for or found. Where an environment of another's making is priced,
    which does not tell that (``InformationGain``), it would find nothing, and is refused."""
    formula: str = ""
    source: str = ""
    """Where the formula comes from: an arXiv number, or words."""
    made_of: tuple[str, dict[str, Any]] | None = field(default=None, init=False, compare=False, repr=False)
    """The name and the parameters that ``make_term`` made it of. Pickled, a term is these, and made again."""

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        return object.__reduce_ex__(self, protocol) if self.made_of is None else (_made, self.made_of)

    @property
    def needs(self) -> frozenset[Need]:
        """What must be there for it."""
        needs: set[Need] = {view.model for view in self.views}
        needs |= {"corpus"} if any(view.draw is not None for view in self.views) else set()
        for instrument in self.instruments:
            needs |= instrument_needs(instrument)
        needs |= {"evidence"} if self.evidence else set()
        return frozenset(needs)

    def is_unread(self, episode: Episode, turn: int) -> bool:
        """Whether it asks a model about the state after a turn that the model could not read."""
        asks = not self.needs.isdisjoint({"scorer", "reference"})
        return asks and episode.is_unread(turn, self.views or (BELIEF,))

    @property
    def cost(self) -> str:
        """What a turn costs, in tokens that a model with a prefix cache reads; empty for nothing.

        ``turn`` are those of the message and the reply, ``ask`` those of the probe and the answers. What two
        terms of one model and context both read is read once.
        """
        parts = [
            f"{'turn' if view.context == 'full' else 'query + reply'} + ask"
            + (" of the reference" if view.model == "reference" else "")
            for view in self.views
            if view.draw is None
        ]
        draws = sum(view.draw is not None for view in self.views)
        parts += [f"{draws} * (reply + ask)"] * bool(draws)
        parts += [instrument_name(instrument) for instrument in self.instruments]
        return " + ".join(parts)


def instrument_name(instrument: Instrument | str) -> str:
    """The name under which the values of an instrument, or of one that is named, stand."""
    return instrument if isinstance(instrument, str) else instrument.name


def instrument_needs(instrument: Instrument | str) -> set[Need]:
    """What a named instrument is made from and cannot do without. Raises SpecError for an unknown name."""
    if not isinstance(instrument, str):
        return set()
    parameters = inspect.signature(specs.maker("instrument", read_call(instrument)[0])).parameters
    known: tuple[Need, ...] = get_args(Need)
    return {
        need for need in known if need in parameters and parameters[need].default is inspect.Parameter.empty
    }


def _made(name: str, given: dict[str, Any]) -> RewardTerm:
    term: RewardTerm = make("term", name, given)
    return term
