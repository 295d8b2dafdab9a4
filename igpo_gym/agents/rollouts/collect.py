"""Rollouts: a policy plays many episodes, a batch at a time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

from igpo_gym.agents.rollouts.branches import Branching
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.playing import advance
from igpo_gym.episode import Episode, Question
from igpo_gym.lm.policy import Policy


def collect(
    engine: Engine,
    policy: Policy,
    questions: Iterable[Question],
    batch_size: int = 16,
    group_size: int = 1,
    done: Collection[tuple[str, int]] = (),
    branching: Branching | None = None,
    recorded: Iterable[Episode] = (),
) -> Iterator[Episode]:
    """Play ``group_size`` episodes per question and yield each as it ends.

    At most ``batch_size`` episodes run at a time; one that ends makes room for the next in the same step, so
    no call to the policy, the search or the scorer is smaller than it need be. The attempts at a question
    are numbered from 0, on from where they were if it comes again; those whose question's id and number are
    in ``done`` are left out. Where the engine measures at the end, those that end in one step are priced
    together. An episode whose prompt the scorer cannot read is aborted, before its first turn or, where the
    engine measures at the end, behind its last.

    With ``branching`` each episode that ends is followed by its branches, in the same group; ``recorded`` are
    ended episodes of an earlier call, whose branches are played as far as they are not ``done``.

    >>> from igpo_gym.agents.policies import resolve_policy
    >>> from igpo_gym.config import EnvConfig
    >>> from igpo_gym.envs.setup import assemble
    >>> questions, engine = assemble(EnvConfig(questions="world:test", scorer=None, reward="outcome-f1"))
    >>> expert = resolve_policy("expert", questions, engine.protocol)
    >>> [episode.end.value for episode in collect(engine, expert, questions.questions[:2], group_size=2)]
    ['answered', 'answered', 'answered', 'answered']
    """
    if batch_size < 1 or group_size < 1:
        raise ValueError(f"batch_size and group_size must be at least 1, not {batch_size} and {group_size}")
    stride = branching.leaves(group_size) if branching else group_size
    waiting = (
        (question, attempt)
        for question, first in _groups(questions, stride)
        for attempt in range(first, first + group_size)
        if (question.id, attempt) not in done
    )
    branches: deque[Episode] = deque()

    def grow(ended: Iterable[Episode]) -> None:
        if branching:
            grown = (branch for episode in ended for branch in branching.of(episode, group_size))
            branches.extend(each for each in grown if (each.question.id, each.attempt) not in done)

    def begin(staying: int) -> list[Episode]:
        tasks = list(islice(waiting, batch_size - staying))
        return engine.begin([question for question, _ in tasks], [attempt for _, attempt in tasks])

    grow(recorded)
    running: list[Episode] = []
    while True:
        while branches and len(running) < batch_size:
            running.append(branches.popleft())
        before = running
        begun = advance(engine, policy, before, begin)
        running = [episode for episode in begun if not episode.done]
        ended = [episode for episode in (*before, *begun) if episode.done]
        if engine.measure == "end":
            engine.price(ended)
        grow(ended)
        yield from ended
        if not (begun or branches):
            return


def collect_groups(
    engine: Engine,
    policy: Policy,
    questions: Sequence[Question],
    group_size: int,
    batch_size: int = 64,
    branching: Branching | None = None,
) -> list[tuple[Episode, ...]]:
    """The group of each question, in order: ``group_size`` ended episodes, by the number of the attempt.

    With ``branching`` the branches of each stand behind these.

    >>> from igpo_gym.agents.policies import resolve_policy
    >>> from igpo_gym.config import EnvConfig
    >>> from igpo_gym.envs.setup import assemble
    >>> questions, engine = assemble(EnvConfig(questions="world:test", scorer=None, reward="outcome-f1"))
    >>> expert = resolve_policy("expert", questions, engine.protocol)
    >>> groups = collect_groups(engine, expert, questions.questions[:2], group_size=3)
    >>> [[episode.attempt for episode in group] for group in groups]
    [[0, 1, 2], [0, 1, 2]]
    """
    played = collect(engine, policy, questions, batch_size, group_size, branching=branching)
    found = {(episode.question.id, episode.attempt): episode for episode in played}
    size = branching.leaves(group_size) if branching else group_size
    return [
        tuple(
            found[question.id, attempt]
            for attempt in range(first, first + size)
            if (question.id, attempt) in found
        )
        for question, first in _groups(questions, size)
    ]


def _groups(questions: Iterable[Question], size: int) -> Iterator[tuple[Question, int]]:
    """Each question with the number of its group's first attempt: ``size`` further where it comes again."""
    begun: Counter[str] = Counter()
    for question in questions:
        yield question, begun[question.id]
        begun[question.id] += size
