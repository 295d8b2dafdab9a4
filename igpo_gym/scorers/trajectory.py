"""Beliefs of whole trajectories: all turns at once, for recorded rollouts and for scoring after the fact."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from igpo_gym.episode import Belief, Episode
from igpo_gym.protocols import ANSWER_PROBE, AnswerProbe
from igpo_gym.scorers.interface import AnswerScorer, BeliefRequest, ask


def score_trajectories(
    scorer: AnswerScorer, episodes: Sequence[Episode], probe: AnswerProbe = ANSWER_PROBE
) -> list[list[Belief]]:
    """For each episode its beliefs after the prompt and after every turn but an answer, in that order.

    These are the beliefs that the environment gives step by step. They are asked in one call, which a scorer
    with a prefix cache answers by forwarding each transcript once, with a branch for every turn.
    """
    requests = [trajectory_requests(episode, probe) for episode in episodes]
    asked = [request for trajectory in requests for request in trajectory]
    beliefs = iter(ask(scorer, asked))
    return [list(islice(beliefs, len(trajectory))) for trajectory in requests]


def trajectory_requests(episode: Episode, probe: AnswerProbe = ANSWER_PROBE) -> list[BeliefRequest]:
    """What has to be asked for all beliefs of an episode."""
    asked = len(episode.turns) - episode.terminated
    return [
        BeliefRequest(episode.context(turn), episode.question.answers, probe) for turn in range(asked + 1)
    ]
