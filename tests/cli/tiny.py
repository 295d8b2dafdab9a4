"""A training run of seconds, as options of the command line."""

from __future__ import annotations

from typing import Any

TINY_RUN: dict[str, Any] = {
    "model": "nano",
    "questions": "world:train#documents=60,questions=20",
    "validation": "world:validation#documents=60,questions=20",
    "updates": 1,
    "batch-questions": 1,
    "group-size": 2,
    "max-turns": 2,
    "max-tokens": 8,
    "validation-questions": 2,
}


def as_arguments(settings: dict[str, Any]) -> list[str]:
    """Settings as arguments."""
    return [text for name, value in settings.items() for text in (f"--{name}", str(value))]
