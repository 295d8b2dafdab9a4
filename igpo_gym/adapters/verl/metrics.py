"""What verl's validation tells of an answer, by data set."""

from __future__ import annotations

from igpo_gym.data.scores import JUDGE, METRICS, final_score, final_scores
from igpo_gym.episode import Episode

ACCURACY = "acc"
"""What verl calls the metric that stands under ``val-core``; all others stand under ``val-aux``."""


def answer_metrics(episode: Episode, accuracy: str, judged: bool) -> dict[str, float]:
    """The scores of an ended episode's answer, under the same names for every episode of a run.

    ``accuracy`` names the metric that is also told as ``acc``; ``judge`` is the verdict of the judge, who has
    to be there then (``judged``). Where the beliefs are known, ``information_gain`` is their last less their
    first. verl wants every number of every episode: one that was ``aborted`` (1, else 0) has no scores, and
    counts as wrong.
    """
    names = (*METRICS, JUDGE) if judged else tuple(METRICS)
    known = final_scores(episode)
    own = {name: known.get(name, 0.0) for name in names}
    core = own[accuracy] if accuracy in own else final_score(accuracy, episode) or 0.0
    aborted = float(not episode.has_outcome)
    return {ACCURACY: core, **own, "information_gain": episode.belief_gain or 0.0, "aborted": aborted}
