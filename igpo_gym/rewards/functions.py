"""Reward functions: weighted sums of terms, and the presets that papers name."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import FunctionType
from typing import TypeAlias

import igpo_gym.specs as specs
from igpo_gym.episode import EndReason, Episode
from igpo_gym.errors import SpecError
from igpo_gym.numbers import finite_number
from igpo_gym.parameters import read_call
from igpo_gym.rewards.interface import Need, RewardTerm
from igpo_gym.rewards.terms import make_term, parameters


@dataclass(frozen=True, slots=True)
class RewardFunction:
    """A sum of weighted terms. Raises ValueError when two terms share a name.

    >>> igpo = resolve_reward("igpo")
    >>> [(term.name, weight) for weight, term in igpo.terms]
    [('gain', 1.0), ('f1', 1.0), ('format-penalty', -2.0)]
    >>> igpo.gains, igpo.last_gain, sorted(igpo.needs)
    (('gain',), False, ['scorer'])
    """

    name: str
    terms: tuple[tuple[float, RewardTerm], ...]
    """Pairs of weight and term."""

    def __post_init__(self) -> None:
        names = [term.name for _, term in self.terms]
        if len(set(names)) != len(names):
            raise ValueError(f"reward {self.name!r} has two terms of one name: {', '.join(names)}")

    @property
    def needs(self) -> frozenset[Need]:
        """What its terms need."""
        return frozenset(need for _, term in self.terms for need in term.needs)

    @property
    def gains(self) -> tuple[str, ...]:
        """The names of the terms that pay turns for what they bring: all but those of the outcome."""
        return tuple(term.name for _, term in self.terms if not term.outcome)

    @property
    def last_gain(self) -> bool:
        """Whether the last turn of an episode has a gain: a term says that it pays there."""
        return any(term.last_turn and not term.outcome for _, term in self.terms)

    @property
    def tools(self) -> frozenset[str]:
        """The tools that its terms ask for by name."""
        return frozenset(tool for _, term in self.terms for tool in term.tools)

    def price(self, episode: Episode, turn: int) -> dict[str, float]:
        """The weighted terms of a turn (counted from 1) by name; the reward is their sum.

        Raises ValueError for a term whose value is no finite number.
        """
        paid = {}
        for weight, term in self.terms:
            value = finite(term.price(episode, turn), term.name, episode, turn)
            paid[term.name] = weight * value + 0.0  # adding nothing turns -0.0, a seeming penalty, into 0.0
        return paid


def as_paid(episode: Episode) -> Episode:
    """An ended episode as its turns are paid: an abort is no end, so they earn what they earned before it."""
    return replace(episode, end=None) if episode.end is EndReason.ABORTED else episode


def finite(value: object, term: str, episode: Episode, turn: int) -> float:
    """The value of a turn, or ValueError for one that would spoil a whole group: nan, infinite, no number."""
    if (type(value) is float and math.isfinite(value)) or isinstance(value, bool):
        return value
    if finite_number(value) is not None:
        return value  # type: ignore[return-value]
    raise ValueError(
        f"the reward term {term!r} gives {value!r}, which is no finite number, for turn {turn} of the "
        f"episode on {episode.question.id!r} (attempt {episode.attempt})"
    )


# The reference code pays -2 where an answer is missing or its tags are unbalanced.
_OUTCOME = {"f1": 1.0, "format-penalty": -2.0}

Recipe: TypeAlias = Mapping[str, float]
"""The terms of a reward, and their weights."""

RECIPES: dict[str, Recipe] = {
    "outcome-f1": {"f1": 1.0},
    "outcome-em": {"em": 1.0},
    "igpo": {"gain": 1.0, **_OUTCOME},
    "igpo-logprob": {"log-gain": 1.0, **_OUTCOME},
    "tips": {"teacher-gain": 0.02, **_OUTCOME},
    "potential": {"shaping": 1.0, **_OUTCOME},
    "ig-search": {"document-gain": 1.0, **_OUTCOME},
    "watermark": {"new-best": 1.0, **_OUTCOME},
    "monte-carlo": {"value-gain": 1.0, **_OUTCOME},
}
"""The presets."""

for _name, _recipe in RECIPES.items():
    specs.register("reward", _name, _recipe)


def resolve_reward(spec: str | RewardFunction) -> RewardFunction:
    """A reward function from a spec, or the function itself.

    A spec is the name of a preset or of a term, with parameters in parentheses or without, or a weighted sum
    of such; plus and minus stand between spaces. Parameters of a preset are those of its terms. A term that
    occurs twice counts with the sum of its weights; two unlike ones of a name are refused. Registered names
    of rewards and terms, and "package.module:attribute", stand where presets and terms do: a RewardFunction,
    a RewardTerm, a mapping of terms to weights, or a function that gives one of these from parameters. Raises
    SpecError for anything else.

    >>> [(term.name, weight) for weight, term in resolve_reward("0.5*gain + f1 - 0.01*search-cost").terms]
    [('gain', 0.5), ('f1', 1.0), ('search-cost', -0.01)]
    >>> [term.name for _, term in resolve_reward("igpo(context=evidence, aliases=first)").terms]
    ['gain(context=evidence, aliases=first)', 'f1', 'format-penalty']
    """
    if isinstance(spec, RewardFunction):
        return spec
    if not isinstance(spec, str):
        raise SpecError(f"a reward is a text or a RewardFunction, not {spec!r:.60}")
    return PRESETS.get(spec) or _read(spec)


def _read(spec: str) -> RewardFunction:
    terms: dict[str, RewardTerm] = {}
    weights: dict[str, float] = {}
    for sign, summand in _summands(spec):
        factor, name, given = _summand(summand)
        for weight, term in _terms(name, given):
            if not _alike(terms.setdefault(term.name, term).price, term.price):
                raise SpecError(f"the reward {spec!r} has two unlike terms of the name {term.name!r}")
            weights[term.name] = weights.get(term.name, 0.0) + sign * factor * weight
            if not math.isfinite(weights[term.name]):
                raise SpecError(f"the reward {spec!r} has a weight that no float holds, of {term.name!r}")
    return RewardFunction(spec, tuple((weights[name], term) for name, term in terms.items()))


def _alike(one: object, other: object) -> bool:
    """Whether two prices, or what they were made from, are equal: the same code with the same values."""
    if not (isinstance(one, FunctionType) and isinstance(other, FunctionType)):
        return bool(one == other)
    cells, others = ([cell.cell_contents for cell in each.__closure__ or ()] for each in (one, other))
    return one.__code__ is other.__code__ and all(map(_alike, cells, others))


def _summands(spec: str) -> Iterator[tuple[float, str]]:
    parts = re.split(r"\s+([+-])\s+", f" + {spec}")[1:]
    for sign, summand in zip(parts[::2], parts[1::2], strict=True):
        if spec.strip() and not summand.strip():
            raise SpecError(
                f"the reward {spec!r} has nothing beside a sign; write it like f1 - 0.1*search-cost"
            )
        yield (-1.0 if sign == "-" else 1.0), summand.strip()


def _summand(text: str) -> tuple[float, str, dict[str, str]]:
    """The weight, the name and the parameters of ``0.1*name(key=value, ...)``."""
    head, opening, inside = text.partition("(")
    factor, times, name = head.rpartition("*")
    try:
        weight = float(factor) if times else 1.0
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise SpecError(
            f"{factor.strip()!r} is no weight in the reward {text!r}; write it like 0.1*search-cost"
        )
    return weight, *read_call(name + opening + inside, "gain(context=evidence)")


def _terms(name: str, given: Mapping[str, str]) -> list[tuple[float, RewardTerm]]:
    """The weighted terms of a preset, or the term itself, each with those of the parameters that it has."""
    if specs.registered("term", name):
        return [(1.0, make_term(name, **given))]
    if not specs.registered("reward", name) and ":" not in name:
        raise specs.unknown(name, "reward")
    made = specs.maker("reward", name)
    if callable(made) and not isinstance(made, (RewardFunction, RewardTerm)):
        kinds = inspect.signature(made).parameters
        own = {key: value for key, value in given.items() if key in kinds}
        made = specs.called(made, f"the reward {name!r}", "", own, {})
        if isinstance(made, RewardTerm):
            return [(1.0, make_term(name, **given))]  # named by its parameters, as the package's terms are
        given = {key: value for key, value in given.items() if key not in own}
    if isinstance(made, Mapping):
        return _recipe_terms(name, made, given)
    if given:
        raise SpecError(f"reward {name!r} has no parameter {min(given)!r}")
    if isinstance(made, RewardTerm):
        return [(1.0, made)]
    return list(specs.checked("reward", made, name).terms)


def _recipe_terms(name: str, recipe: Recipe, given: Mapping[str, str]) -> list[tuple[float, RewardTerm]]:
    known = {term: parameters(term) for term in recipe}
    for key in given:
        if not any(key in keys for keys in known.values()):
            there = sorted({key for keys in known.values() for key in keys})
            raise SpecError(f"reward {name!r} has no parameter {key!r}; it has: {', '.join(there) or 'none'}")
    return [
        (weight, make_term(term, **{key: value for key, value in given.items() if key in known[term]}))
        for term, weight in recipe.items()
    ]


PRESETS = {
    name: RewardFunction(name, tuple(_recipe_terms(name, recipe, {}))) for name, recipe in RECIPES.items()
}
"""The reward functions that papers name, outcome included."""


def curriculum_weights(progress: float) -> tuple[float, float]:
    """IGPO's weights of gains and outcomes: from (1, 0.5) to (0.5, 1), linear in training progress 0..1.

    >>> curriculum_weights(0.0), curriculum_weights(1.0)
    ((1.0, 0.5), (0.5, 1.0))
    """
    return 1.0 - 0.5 * progress, 0.5 + 0.5 * progress


def curriculum(reward: RewardFunction, progress: float) -> RewardFunction:
    """The reward at a point of training: what pays the outcome gains weight, what pays turns loses it.

    As training goes from 0 to 1, terms of the outcome are weighted 0.5 to 1.0, all others 1.0 to 0.5, both
    linearly (docs/METHOD.md, section 2). Raises ValueError for a progress outside [0, 1].

    >>> half = curriculum(resolve_reward("igpo"), 0.5)
    >>> {term.name: weight for weight, term in half.terms}
    {'gain': 0.75, 'f1': 0.75, 'format-penalty': -1.5}
    """
    if not 0.0 <= progress <= 1.0:
        raise ValueError(f"progress is a number from 0 to 1, not {progress}")
    gains, outcomes = curriculum_weights(progress)
    terms = tuple((weight * (outcomes if term.outcome else gains), term) for weight, term in reward.terms)
    return RewardFunction(f"{reward.name} at {progress:.0%} of training", terms)
