"""Things that are made by name and parameters, as reward terms and estimators are: ``name(key=value, ...)``.

What stands behind a name is a function whose parameters all have defaults, or the thing itself, a dataclass
with a ``name``. Names are those of the registry, see :mod:`igpo_gym.specs`.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, TypeAlias

import igpo_gym.specs as specs
from igpo_gym.errors import SpecError

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


def defaults(kind: str, name: str) -> dict[str, Any]:
    """The parameters of what is registered under a name, with their defaults."""
    return {key: each.default for key, each in _signature(specs.maker(kind, name)).items()}


def make(kind: str, name: str, given: Mapping[str, Parameter]) -> Any:
    """What a name of the registry stands for, made with these parameters, which may be texts.

    Its own name shows the parameters that are not the defaults. Raises SpecError for a name or parameter that
    is not known, and for values that do not fit.

    >>> from igpo_gym.rewards import resolve_reward
    >>> make("term", "gain", {"context": "evidence", "aliases": "max"}).name
    'gain(context=evidence)'
    """
    maker, noun = specs.maker(kind, name), specs.KINDS[kind].noun
    known = _signature(maker)
    for key in given:
        if key not in known:
            there = ", ".join(known) or "none"
            raise SpecError(f"the {noun} {name!r} has no parameter {key!r}; it has: {there}")
    values = {
        key: specs.converted(value, known[key], f"{key} of the {noun} {name!r}")
        for key, value in given.items()
    }
    needed = [key for key, each in known.items() if each.default is each.empty and key not in values]
    if needed and not _ready(maker):
        raise SpecError(
            f"the {noun} {name!r} needs the parameter {needed[0]!r}; a function is called with those of its "
            "text, and returns the object"
        )
    try:
        made = maker if _ready(maker) else maker(**values)
    except (TypeError, ValueError) as problem:
        raise SpecError(f"in the {noun} {name!r}: {problem}") from problem
    specs.checked(kind, made, name)
    parts = [
        f"{key}={values[key]}" for key, each in known.items() if values.get(key, each.default) != each.default
    ]
    return dataclasses.replace(made, name=f"{made.name}({', '.join(parts)})") if parts else made


def _ready(maker: Any) -> bool:
    return dataclasses.is_dataclass(maker) and not isinstance(maker, type)


def _signature(maker: Any) -> Mapping[str, inspect.Parameter]:
    return {} if _ready(maker) else inspect.signature(maker).parameters
