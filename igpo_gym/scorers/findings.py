"""What a check of a model or of a server has found, a line at a time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look has found.

    >>> Finding("reads", "4,096 tokens").good is None
    True
    """

    what: str
    found: str
    good: bool | None = None
    """Whether it is as IGPO needs it; None for what is told alone, or was not looked at."""
