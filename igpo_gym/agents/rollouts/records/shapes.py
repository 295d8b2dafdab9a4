"""Whether what was read from a file has the types that its class declares."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_LARGEST = sys.float_info.max
"""Whole numbers beyond this are no floats, and nothing computes with them."""


def checked(value: T) -> T:
    """A dataclass's instance as it was given. TypeError for a value of a wrong type, naming the field alone:
    the value may be a gold answer.

    The values within are checked as well. A whole number may stand for a float, if it is none too large for
    one; a bool is no number.

    >>> from igpo_gym.episode import Passage
    >>> checked(Passage("1", "Danzig", "A port.")).title
    'Danzig'
    >>> checked(Passage("1", "Danzig", None))
    Traceback (most recent call last):
    TypeError: the text of a Passage must be str, found None
    """
    kind: Any = type(value)
    for name, wanted, fits in _fields(kind):
        if not fits(given := getattr(value, name)):
            raise TypeError(f"the {name} of a {kind.__name__} must be {wanted}, found {_types(given):.60}")
    return value


def _types(value: Any) -> str:
    """The type of a value, and of what a list or tuple holds."""
    if not isinstance(value, list | tuple):
        return "None" if value is None else type(value).__name__
    return f"{type(value).__name__} of {', '.join(sorted(set(map(_types, value)))) or 'nothing'}"


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, by the same rules.

    >>> fits([1, 2], list[int]), fits({"f1": 10**400}, dict[str, float])
    (True, False)
    """
    return _test(hint)(value)


@cache
def _fields(kind: type) -> list[tuple[str, str, Callable[[Any], bool]]]:
    """The name, the written type and the test of each field."""
    hints = get_type_hints(kind)
    return [(field.name, str(field.type), _test(hints[field.name])) for field in fields(kind)]


@cache
def _test(hint: Any) -> Callable[[Any], bool]:
    """What tells whether a value is of a type."""
    kind, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value: True
    if kind is Literal:
        return lambda value: value in inner
    if kind in (Union, UnionType):
        tests = [_test(each) for each in inner]
        return lambda value: any(test(value) for test in tests)
    if kind in (tuple, list):
        item = _test(inner[0])
        return lambda value: isinstance(value, kind) and all(map(item, value))
    if kind in (dict, Mapping):
        key, item = map(_test, inner)
        return lambda value: (
            isinstance(value, dict) and all(map(key, value)) and all(map(item, value.values()))
        )
    if isinstance(hint, type) and is_dataclass(hint):
        return lambda value: type(value) is hint and checked(value) is value
    if hint is float:
        return lambda value: type(value) is float or (type(value) is int and -_LARGEST <= value <= _LARGEST)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return lambda value: isinstance(value, hint)
    return lambda value: type(value) is hint
