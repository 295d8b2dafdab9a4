"""Episodes of coroutines beside a vector environment and a thread each, with the bundled model as scorer.

All play the same scripted episodes of a generated world, so many at a time, with an empty cache; repeats are
interleaved. Prints JSON: steps a CPU second and a second of each, the ratio of the CPU seconds to the vector
environment's, how long a step waits for its batch (the whole of it, and the part beyond the batch that was at
work and its answers, which ``max_wait`` and Python's switch interval bound), and what canceled steps leave
behind. By the clock it tells something on an idle machine only.

    python benchmarks/asynchronous.py
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import gc
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from igpo_gym.adapters.session import Sessions
from igpo_gym.batching import Batches
from igpo_gym.envs import AsyncSearchQA, SearchQAEnv, SearchQAVectorEnv
from igpo_gym.envs.asynchronous import MAX_WAIT, Ask, Settled, advance
from igpo_gym.episode import Episode

SETTINGS: dict[str, Any] = {"questions": "world:test", "scorer": "nano", "reward": "igpo", "info": "metrics"}


def script(prompt: str) -> list[str]:
    """Two searches for the words of the question, and an answer."""
    words = prompt.rstrip().rpartition("Question: ")[2].rstrip("?").split()
    searches = [f"<search>{' '.join(words[start:])}</search>" for start in (-2, -4)]
    return [*searches, f"<answer>{words[-1]}</answer>"]


STEPS = 3


class TimedSteps:
    """Steps that tell how long each waited for its batch."""

    def __init__(self, env: SearchQAEnv) -> None:
        self.batches: Batches[Ask, Settled] = Batches(partial(self.answer, env), wait=MAX_WAIT)
        self.placed: dict[int, float] = {}
        self.waits: list[tuple[float, float]] = []
        self.free = time.perf_counter()

    def place(self, asked: Sequence[Ask]) -> Any:
        self.placed[id(asked[0])] = time.perf_counter()
        promise = self.batches.place(asked)
        promise.add_done_callback(lambda _: self.done())
        return promise

    def done(self) -> None:
        """A batch is, when the last of its answers is handed out."""
        self.free = time.perf_counter()

    def answer(self, env: SearchQAEnv, asked: Sequence[Ask]) -> list[Settled]:
        began = time.perf_counter()
        for each in asked:
            placed = self.placed.pop(id(each))
            self.waits.append((began - placed, began - max(placed, self.free)))
        return advance(env.engine, asked)


def timed(play: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds and seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    play()
    return time.process_time() - cpu, time.perf_counter() - wall


def vector(envs: SearchQAVectorEnv, seed: int) -> None:
    prompts, _ = envs.reset(seed=seed)
    scripts = [script(prompt) for prompt in prompts]
    for turn in range(STEPS):
        envs.step([own[turn] for own in scripts])


def in_threads(sessions: Sessions, count: int, seed: int) -> None:
    def play(number: int) -> None:
        env = sessions()
        for message in script(env.reset(seed=seed + number)[0]):
            env.step(message)

    threads = [threading.Thread(target=play, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def in_coroutines(envs: Sequence[AsyncSearchQA], seed: int) -> None:
    async def play(env: AsyncSearchQA, number: int) -> None:
        prompt, _ = await env.reset(seed=seed + number)
        for message in script(prompt):
            await env.step(message)

    await asyncio.gather(*(play(env, number) for number, env in enumerate(envs)))


def episodes() -> int:
    """How many there are in memory."""
    gc.collect()
    return sum(type(thing) is Episode for thing in gc.get_objects())


async def canceled(env: AsyncSearchQA, count: int, folder: Path) -> dict[str, int]:
    """What is left of so many steps that were canceled at any time, beyond what was there before."""
    envs = [env.another() for _ in range(count)]
    await asyncio.gather(*(each.reset(seed=number) for number, each in enumerate(envs)))
    files, before = sorted(folder.iterdir()), episodes()
    tasks: list[Any] = [asyncio.ensure_future(each.step("<search>river</search>")) for each in envs]
    order: list[Any] = random.Random(0).sample(tasks, count)
    for number, task in enumerate(order):
        task.cancel()
        if number % 100 == 0:
            await asyncio.sleep(0.01)
    ends = [type(end) for end in await asyncio.gather(*tasks, return_exceptions=True)]
    await env.another().reset(seed=0)  # behind whatever batch was at work
    tasks, order, task = [], [], None  # what they raised holds their frames
    dropped = sum(each.episode is None for each in envs)
    return {
        "canceled": ends.count(asyncio.CancelledError),
        "of_them_amid_a_batch": dropped,
        "tasks_left": len(asyncio.all_tasks()) - 1,
        "orders_left": env._steps.waiting,
        "files_left": len(sorted(folder.iterdir())) - len(files),
        "episodes_left": episodes() - (before - dropped),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--canceled", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    envs = SearchQAVectorEnv(options.count, **SETTINGS)
    sessions = Sessions(**SETTINGS)
    single = SearchQAEnv(**SETTINGS)
    scorer: Any = single.engine.scorer
    steps: Any = TimedSteps(single)
    coroutines = [AsyncSearchQA.of(copy.copy(single), steps) for _ in range(options.count)]
    ways: dict[str, Callable[[int], object]] = {
        "vector": lambda seed: vector(envs, seed),
        "threads": lambda seed: in_threads(sessions, options.count, seed),
        "coroutines": lambda seed: asyncio.run(in_coroutines(coroutines, seed)),
    }
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for repeat in range(options.repeats + 1):
        for name, way in ways.items():
            scorer.clear()  # all share the bundled model, and play the same
            seconds = timed(partial(way, 10_000 * repeat))
            if repeat:  # the first is not counted
                spent[name].append(seconds)
    number = options.count * STEPS
    cpu = {name: statistics.median(first for first, _ in own) for name, own in spent.items()}
    wall = {name: statistics.median(second for _, second in own) for name, own in spent.items()}
    whole, beyond = np.percentile(np.array(steps.waits), 99, axis=0)
    with tempfile.TemporaryDirectory() as folder, AsyncSearchQA(**SETTINGS, search_cache=folder) as env:
        left = asyncio.run(canceled(env, options.canceled, Path(folder)))
    results = {
        "steps_per_cpu_second": {name: round(number / seconds, 1) for name, seconds in cpu.items()},
        "steps_per_second": {name: round(number / seconds, 1) for name, seconds in wall.items()},
        "cpu_against_vector": {name: round(cpu["vector"] / seconds, 3) for name, seconds in cpu.items()},
        "wait_ms_p99": {
            "whole": round(1e3 * whole, 2),
            "beyond_the_batch_at_work": round(1e3 * beyond, 2),
            "longest": round(1e3 * max(wait for _, wait in steps.waits), 2),
            "max_wait": 1e3 * MAX_WAIT,
            "switch_interval": 1e3 * sys.getswitchinterval(),
        },
        "cancellations": left,
    }
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
