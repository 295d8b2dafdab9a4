"""Things that are made by name and parameters, as reward terms and estimators are: ``name(key=value, ...)``.

A maker is a function whose parameters all have defaults. Their types are those of the defaults.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

from igpo_gym.errors import SpecError, choose

T = TypeVar("T")
Parameter: TypeAlias = str | int | float


def read_call(text: str, example: str = "name(key=value)") -> tuple[str, dict[str, str]]:
    """The name and the parameters of a text.

    Raises SpecError, which shows ``example``, for parentheses that cannot be read.

    >>> read_call("a2tgpo(alpha=1.0, clip_low=0.1)")
    ('a2tgpo', {'alpha': '1.0', 'clip_low': '0.1'})
    >>> read_call("grpo")
    ('grpo', {})
    """
    name, opening, inside = text.partition("(")
    if not opening:
        return name.strip(), {}
    pairs = [pair.partition("=") for pair in inside.removesuffix(")").split(",")]
    given = {key.strip(): value.strip() for key, _, value in pairs}
    if not inside.endswith(")") or len(given) < len(pairs) or not all((*given, *given.values())):
        raise SpecError(f"{text!r} has no parameters that can be read; write it like {example}")
    return name.strip(), given


def defaults(maker: Callable[..., object]) -> dict[str, Parameter]:
    """The parameters of a maker with their defaults."""
    return {key: parameter.default for key, parameter in inspect.signature(maker).parameters.items()}


def make(makers: Mapping[str, Callable[..., T]], name: str, given: Mapping[str, Parameter], what: str) -> T:
    """What the maker of this name makes of the parameters, which may be texts.

    Raises SpecError for a name or parameter that is not known, and for values that do not fit; ``what`` says
    in the message what is made.
    """
    maker = choose(makers, name, what)
    known = defaults(maker)
    values = {key: _converted(key, value, known, f"the {what} {name!r}") for key, value in given.items()}
    try:
        return maker(**values)
    except ValueError as problem:
        raise SpecError(f"in the {what} {name!r}: {problem}") from problem


def shown(maker: Callable[..., object], name: str, given: Mapping[str, Parameter]) -> str:
    """The name with those parameters that are not the defaults, in the maker's order.

    >>> shown(lambda alpha=0.3, beta=1: None, "mine", {"beta": "1", "alpha": "0.5"})
    'mine(alpha=0.5)'
    """
    known = defaults(maker)
    values = {key: _converted(key, value, known, name) for key, value in given.items()}
    parts = [f"{key}={values[key]}" for key in known if values.get(key, known[key]) != known[key]]
    return f"{name}({', '.join(parts)})" if parts else name


def _converted(key: str, value: Parameter, known: Mapping[str, Parameter], whose: str) -> Parameter:
    """The value as the type that the parameter has."""
    if key not in known:
        raise SpecError(f"{whose} has no parameter {key!r}; it has: {', '.join(known) or 'none'}")
    kind = type(known[key])
    try:
        converted = kind(str(value))
    except ValueError:
        converted = math.nan
    if isinstance(converted, float) and not math.isfinite(converted):
        raise SpecError(f"{value!r} is no {kind.__name__}, which {key} of {whose} must be")
    return converted
