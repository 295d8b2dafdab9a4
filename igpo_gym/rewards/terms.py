"""The table of reward terms: each prices one turn of an episode by one idea.

A term is a name, a function of ``(episode, turn)`` and what it reads. Turns count from 1; the function may
look at anything up to and including its turn. Write your own like this:

>>> from igpo_gym.rewards import TERMS, RewardFunction, RewardTerm
>>> brevity = RewardTerm("brevity", lambda episode, turn: -len(episode.turns[turn - 1].message) / 1000)
>>> RewardFunction("mine", ((1.0, TERMS["f1"]), (0.5, brevity))).name
'mine'
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from igpo_gym.data.metrics import exact_match, f1
from igpo_gym.data.scores import Metric, score
from igpo_gym.episode import Episode, Invalid
from igpo_gym.errors import SpecError, choose
from igpo_gym.rewards.gains import (
    document_gain,
    gain,
    log_gain,
    new_best,
    shaping,
    teacher_gain,
    value_gain,
)
from igpo_gym.rewards.interface import Price, RewardTerm
from igpo_gym.tools.searching import queries

Parameter: TypeAlias = str | int | float


def _at_the_end(metric: Metric) -> Price:
    """``metric`` of the prediction, paid on the last turn; a truncated episode predicts nothing."""

    def price(episode: Episode, turn: int) -> float:
        if not episode.done or turn != len(episode.turns):
            return 0.0
        return score(metric, episode)

    return price


def _malformed(episode: Episode, turn: int) -> float:
    """1 for an invalid message, and for an episode that ends without an answer; never both in one turn."""
    unanswered = episode.truncated and turn == len(episode.turns)
    return float(unanswered or isinstance(episode.turns[turn - 1].action, Invalid))


def _seen_before(episode: Episode, turn: int) -> set[str]:
    return {passage.id for played in episode.turns[: turn - 1] for passage in played.passages}


def _evidence_recall(episode: Episode, turn: int) -> float:
    """The share of the gold passages that this turn is the first to find. Raises ValueError without gold."""
    gold = set(episode.question.evidence)
    if not gold:
        raise ValueError(f"evidence-recall needs gold evidence; question {episode.question.id!r} names none")
    found = {passage.id for passage in episode.turns[turn - 1].passages}
    return len((found & gold) - _seen_before(episode, turn)) / len(gold)


def _redundancy(episode: Episode, turn: int) -> float:
    """Minus the share of the turn's passages that an earlier turn had found; 0 where it found none."""
    found = [passage.id for passage in episode.turns[turn - 1].passages]
    seen = _seen_before(episode, turn)
    return -sum(passage in seen for passage in found) / len(found) if found else 0.0


def _search_cost(episode: Episode, turn: int) -> float:
    return float(bool(queries(episode.turns[turn - 1].action)))


_PLAIN = (
    RewardTerm(
        "evidence-recall",
        _evidence_recall,
        evidence=True,
        formula="gold passages found first / gold passages",
        source="StepSearch family, 2505.15107",
    ),
    RewardTerm(
        "redundancy",
        _redundancy,
        formula="- passages seen before / passages",
        source="StepSearch family, 2505.15107",
    ),
    RewardTerm("search-cost", _search_cost, formula="1 for a search: subtract it", source="common"),
    RewardTerm(
        "format-penalty",
        _malformed,
        outcome=True,
        formula="1 for an invalid message, or no answer at the end: subtract it",
        source="common",
    ),
    RewardTerm(
        "f1",
        _at_the_end(f1),
        outcome=True,
        formula="F1 of the answer, at the end",
        source="SQuAD, HotpotQA",
    ),
    RewardTerm(
        "em",
        _at_the_end(exact_match),
        outcome=True,
        formula="exact match, at the end",
        source="SQuAD, HotpotQA",
    ),
)
"""The terms without parameters."""


def _maker(term: RewardTerm) -> Callable[[], RewardTerm]:
    return lambda: term


MAKERS: dict[str, Callable[..., RewardTerm]] = {
    "gain": gain,
    "log-gain": log_gain,
    "new-best": new_best,
    "shaping": shaping,
    "teacher-gain": teacher_gain,
    "document-gain": document_gain,
    "value-gain": value_gain,
    **{term.name: _maker(term) for term in _PLAIN},
}
"""By name, a function from a term's parameters, all of which have defaults, to the term."""


def parameters(name: str) -> dict[str, Parameter]:
    """The parameters of a term with their defaults. Raises SpecError for an unknown term."""
    signature = inspect.signature(choose(MAKERS, name, "reward term"))
    return {key: parameter.default for key, parameter in signature.parameters.items()}


def make_term(name: str, **given: Parameter) -> RewardTerm:
    """A term by name, with parameters (or their texts). Its own name shows those that are not the defaults.

    >>> make_term("gain", context="evidence", aliases="max").name
    'gain(context=evidence)'

    Raises SpecError for a name or parameter that is not known, and for values that do not fit.
    """
    defaults = parameters(name)
    values = {key: _converted(name, key, value, defaults) for key, value in given.items()}
    try:
        term = MAKERS[name](**values)
    except ValueError as problem:
        raise SpecError(f"in the reward term {name!r}: {problem}") from problem
    shown = ", ".join(
        f"{key}={values[key]}" for key in defaults if values.get(key, defaults[key]) != defaults[key]
    )
    return replace(term, name=f"{name}({shown})") if shown else term


def _converted(name: str, key: str, value: Parameter, defaults: dict[str, Parameter]) -> Parameter:
    """The value as the type that the parameter has."""
    if key not in defaults:
        known = ", ".join(defaults) or "none"
        raise SpecError(f"the reward term {name!r} has no parameter {key!r}; it has: {known}")
    kind = type(defaults[key])
    try:
        converted = kind(str(value))
    except ValueError:
        converted = math.nan
    if isinstance(converted, float) and not math.isfinite(converted):
        raise SpecError(f"{value!r} is no {kind.__name__}, which {key} of the reward term {name!r} must be")
    return converted


TERMS = {name: make_term(name) for name in MAKERS}
"""The terms by name, with their default parameters; b_t is the belief after turn t."""

INFORMATION_GAIN = TERMS["gain"]
