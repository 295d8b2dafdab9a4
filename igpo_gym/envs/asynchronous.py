"""The environment for coroutines: hundreds of episodes in one event loop, their steps joined into batches.

A step of an episode waits in a queue; one thread takes what is there and plays it as the vector environment
does, with one call of each tool and one belief call for all.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

from igpo_gym.batching import Batches
from igpo_gym.config import EnvConfig, arguments, with_signature
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.questions import QuestionBook
from igpo_gym.envs.single import SearchQAEnv
from igpo_gym.episode import Episode, Message

MAX_WAIT = 0.002
"""Seconds that a step waits for others at most."""
MAX_BATCH = 256
"""How many steps a batch holds."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What an episode waits for: its first belief, or the step that a message makes."""

    episode: Episode
    message: str | Message = ""
    begins: bool = False
    """Whether it is the first belief."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of it."""

    reward: float
    """0 for a first belief."""
    facts: Mapping[str, str | int]
    """What the retriever told about itself."""


T = TypeVar("T")

Steps: TypeAlias = Batches[Ask, Settled]


def advance(engine: Engine, asked: Sequence[Ask]) -> list[Settled]:
    """Play all messages and ask for all beliefs, those of episodes that begin included, as one step.

    Whatever is raised, the episodes are then as they were.
    """
    steps = [each for each in asked if not each.begins]
    moves = engine.play([each.episode for each in steps], [each.message for each in steps])
    facts = engine.facts()
    earned = iter(engine.settle(moves, [each.episode for each in asked if each.begins]))
    return [Settled(0.0 if each.begins else next(earned), facts) for each in asked]


def steps_of(engine: Engine, max_wait: float = MAX_WAIT, max_batch: int = MAX_BATCH) -> Steps:
    """Joins the steps of episodes of this engine into batches. Raises ValueError for bounds that are none."""
    if max_wait < 0:
        raise ValueError(f"max_wait must not be negative, not {max_wait}")
    if max_batch < 1:
        raise ValueError(f"max_batch must be at least 1, not {max_batch}")
    return Batches(
        partial(advance, engine),
        size=max_batch,
        wait=max_wait,
        closed=lambda: RuntimeError("the environment is closed"),
        name="igpo_gym-steps",
    )


class AsyncSearchQA:
    """:class:`~igpo_gym.envs.single.SearchQAEnv` for coroutines: ``await reset()``, ``await step(message)``.

    :meth:`another` gives an environment on the same questions, tools, models and batches, at no cost; play
    each episode in its own. It gives what the single environment gives; the arguments are the same, and two
    more.

    Args:
        max_wait: seconds that a step waits for others at most: it is begun ``max_wait`` after it came, or as
            soon as the batch that was at work then is done, whichever is later, and at most Python's
            switch interval after that, for which the event loop may keep the interpreter.
        max_batch: how many steps a batch holds; more wait for the one behind it.

    A batch that fails is played again one by one, so an error reaches the episode that caused it and no
    other. Canceled before its batch begins, a step has not happened, and nothing was asked; canceled later,
    the episode is dropped, and the environment must be reset. Use it as a context manager, or :meth:`close`
    it, to end the thread at once; where nobody holds an environment any more it ends by itself.

    >>> async def play(env):
    ...     await env.reset(seed=0)
    ...     *_, info = await env.step("<search>Salman</search>")
    ...     return len(info["passage_ids"])
    >>> async def both(env):
    ...     return await asyncio.gather(play(env), play(env.another()))
    >>> with AsyncSearchQA(questions="world:test", scorer=None, reward="outcome-f1") as env:
    ...     asyncio.run(both(env))
    [3, 3]

    Raises:
        RuntimeError: from ``reset`` and ``step``, while another call of this environment is under way, and
            after :meth:`close`.
    """

    @with_signature(arguments(EnvConfig))
    def __init__(
        self,
        config: EnvConfig | Mapping[str, Any] | None = None,
        max_wait: float = MAX_WAIT,
        max_batch: int = MAX_BATCH,
        **settings: Any,
    ) -> None:
        self._env = SearchQAEnv(config, **settings)
        self._steps = steps_of(self._env.engine, max_wait, max_batch)
        self._busy = False

    @classmethod
    def of(cls, env: SearchQAEnv, steps: Steps) -> AsyncSearchQA:
        """The face of a single environment, whose steps are made by ``steps``, those of its engine."""
        made = object.__new__(cls)
        made._env, made._steps, made._busy = env, steps, False
        return made

    def another(self) -> AsyncSearchQA:
        """An environment that has not been reset nor seeded, which shares what is expensive."""
        env = copy.copy(self._env)
        env.episode, env._place = None, 0
        env._np_random = env._np_random_seed = None
        env.action_space = copy.deepcopy(env.action_space)
        return AsyncSearchQA.of(env, self._steps)

    @property
    def episode(self) -> Episode | None:
        """The running, or just ended, episode; None before a reset, and after a step that was cut short."""
        return self._env.episode

    @property
    def engine(self) -> Engine:
        """The rules that it plays by."""
        return self._env.engine

    @property
    def questions(self) -> QuestionBook:
        """The questions that it draws from."""
        return self._env.questions

    async def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin an episode, as :meth:`SearchQAEnv.reset` does.

        Whatever is raised, a cancellation too, the environment is as if it had not been called.
        """
        self._check_free()
        episode, place = self._env.opened(seed, options)
        settled = await self._settled(Ask(episode, begins=True))
        self._env.install(episode, place, seed)
        return episode.prompt_text, self._env.tell(episode, settled.facts)

    async def step(self, action: str | Message) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play one message, as :meth:`SearchQAEnv.step` does."""
        self._check_free()
        episode = self._env.running()
        settled = await self._settled(Ask(episode, action))
        return self._env.stepped(episode, settled.reward, settled.facts)

    def close(self) -> None:
        """End the thread, for all environments that share it. Safe to call again."""
        self._steps.close()

    def __enter__(self) -> AsyncSearchQA:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_free(self) -> None:
        if self._busy:
            raise RuntimeError("await the last reset or step of this environment before the next")

    async def _settled(self, asked: Ask) -> Settled:
        promise = self._steps.place([asked])
        self._busy = True
        try:
            return await answered(promise)
        except (asyncio.CancelledError, GeneratorExit):  # the latter where its loop ended before it
            # What has begun goes on in its thread, and whether it happened nobody can tell any more.
            if not promise.cancel() and not asked.begins:
                self._env.episode = None
            raise
        finally:
            self._busy = False


async def answered(promise: Future[list[T]]) -> T:
    """The one answer of an order. Canceled, it takes the order back where its batch has not begun."""
    try:
        (answer,) = await asyncio.wrap_future(promise)
    except (asyncio.CancelledError, GeneratorExit):
        promise.cancel()
        raise
    return answer
