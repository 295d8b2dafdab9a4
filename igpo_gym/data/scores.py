"""What an episode's answer scores: said once for info, records, metrics and every library."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from igpo_gym.data.metrics import cover_exact_match, exact_match, f1
from igpo_gym.data.protection import hidden
from igpo_gym.episode import Episode
from igpo_gym.text import restored

Metric = Callable[[str | None, Sequence[str]], float]

METRICS: dict[str, Metric] = {"em": exact_match, "f1": f1, "cover_em": cover_exact_match}
"""The metrics of every episode, by name, each in [0, 1]."""


def score(metric: Metric, episode: Episode) -> float:
    """A metric of the episode's answer; 0 without one.

    Prediction and gold answers are compared as if foreign text had not been neutralized: an agent that copies
    what it was shown is right.
    """
    prediction = episode.prediction
    answers = [restored(answer) for answer in episode.question.answers]
    return metric(None if prediction is None else restored(prediction), answers)


def scores(episode: Episode) -> dict[str, float]:
    """Exact match, F1 and cover exact match of an ended episode; the recorded where its texts are hidden."""
    if hidden(episode.question):
        return dict(episode.extra["sealed"])
    return {name: score(metric, episode) for name, metric in METRICS.items()}
