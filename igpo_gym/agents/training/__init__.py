"""Training: advantages, the settings and the folder of a run, the reference trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from igpo_gym.agents.training.estimators import Estimator, Turns, resolve_estimator
from igpo_gym.agents.training.settings import Settings

if TYPE_CHECKING:
    from igpo_gym.agents.training.trainer import train as train

__all__ = ["Estimator", "Settings", "Turns", "resolve_estimator", "train"]


def __getattr__(name: str) -> Any:
    """The trainer, imported at its first use: it needs torch, and nothing else here does."""
    if name != "train":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from igpo_gym.agents.training.trainer import train

    return train
