"""The loop of a rollout: a policy writes, the engine plays, a step of all running episodes at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from igpo_gym.envs.engine import Engine, Move
from igpo_gym.episode import EndReason, Episode
from igpo_gym.errors import PromptTooLongError
from igpo_gym.lm.policy import Policy, has_room, messages_of

logger = logging.getLogger(__name__)


def advance(
    engine: Engine,
    policy: Policy,
    running: Sequence[Episode],
    begin: Callable[[int], list[Episode]] = lambda staying: [],
) -> list[Episode]:
    """Play one turn of every running episode; returns those that go on, and those that begin.

    ``begin`` is told how many episodes go on, and gives new ones (from :meth:`Engine.begin`), whose first
    beliefs are asked for in the same call. One whose prompt the scorer cannot read is aborted, and told, and
    so is one whose prompt leaves the policy no room for a message. An episode whose transcript leaves none
    ends with its context exhausted. Raises TypeError for a policy that does not return a message for each.
    """
    fitting = []
    for episode in running:
        if has_room(policy, episode):
            fitting.append(episode)
        elif episode.turns:
            engine.end(episode, EndReason.CONTEXT_EXHAUSTED)
        else:
            logger.warning(
                "question %r is left out: its prompt leaves the policy no room for a message",
                episode.question.id,
            )
            engine.end(episode, EndReason.ABORTED)
    moves = engine.play(fitting, messages_of(policy, fitting))
    fresh = begin(sum(move.end is None for move in moves))
    if moves or fresh:
        _settle(engine, moves, fresh)
    return [episode for episode in fitting if not episode.done] + fresh


def _settle(engine: Engine, moves: Sequence[Move], fresh: Sequence[Episode]) -> None:
    try:
        engine.settle(moves, fresh)
    except PromptTooLongError as problem:
        left = [episode for episode in fresh if episode.question.id not in problem.question_ids]
        if len(left) == len(fresh):
            raise
        for episode in fresh:
            if episode.question.id in problem.question_ids:
                logger.warning("question %r is left out: %s", episode.question.id, problem)
                engine.end(episode, EndReason.ABORTED)
        if moves or left:
            _settle(engine, moves, left)
