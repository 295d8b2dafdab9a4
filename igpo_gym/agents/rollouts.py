"""Rollouts: a policy plays many episodes, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from igpo_gym.agents.interface import Policy
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Episode, Question


def collect(
    engine: Engine, policy: Policy, questions: Iterable[Question], batch_size: int = 16
) -> Iterator[Episode]:
    """Play one episode per question and yield each as it ends.

    At most ``batch_size`` episodes run at a time; one that ends makes room for the next question in the same
    step, so no call to the policy, the search or the scorer is smaller than it need be.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    waiting = iter(questions)
    running: list[Episode] = []
    while True:
        moves = engine.play(running, policy.act(running) if running else [])
        staying = sum(not move.ends for move in moves)
        fresh = engine.begin(list(islice(waiting, batch_size - staying)))
        if not moves and not fresh:
            return
        engine.settle(moves, fresh)
        yield from (episode for episode in running if episode.done)
        running = [episode for episode in running if not episode.done] + fresh
