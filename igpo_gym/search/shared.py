"""Indices that are made once in a process, and shared while they are in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import igpo_gym.specs as specs

T = TypeVar("T")

_shared: WeakValueDictionary[str, Any] = WeakValueDictionary()


def shared(key: str, make: Callable[[], T]) -> T:
    """What was made under this key, as long as something holds it; else what ``make`` makes.

    >>> one = shared("an index", lambda: {"Danzig"})
    >>> shared("an index", set) is one
    True
    """
    with specs.LOCK:
        found: T | None = _shared.get(key)
        if found is None:
            found = _shared[key] = make()
        return found
