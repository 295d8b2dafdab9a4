"""The loop of a rollout: a policy writes, the engine plays, a step of all running episodes at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from igpo_gym.envs.engine import Engine
from igpo_gym.episode import EndReason, Episode
from igpo_gym.lm.policy import Policy, has_room


def advance(
    engine: Engine,
    policy: Policy,
    running: Sequence[Episode],
    begin: Callable[[int], list[Episode]] = lambda staying: [],
) -> list[Episode]:
    """Play one turn of every running episode; returns those that go on, and those that begin.

    ``begin`` is told how many episodes go on, and gives new ones (from :meth:`Engine.begin`), whose first
    beliefs are asked for in the same call. An episode whose transcript leaves the policy no room for a
    message ends with its context exhausted. Raises ValueError where a prompt leaves none.
    """
    fitting = []
    for episode in running:
        if has_room(policy, episode):
            fitting.append(episode)
        else:
            engine.end(episode, EndReason.CONTEXT_EXHAUSTED)
    moves = engine.play(fitting, policy.act(fitting) if fitting else [])
    fresh = begin(sum(move.end is None for move in moves))
    if moves or fresh:
        engine.settle(moves, fresh)
    return [episode for episode in fitting if not episode.done] + fresh
