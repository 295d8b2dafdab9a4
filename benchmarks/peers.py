"""A step of this environment beside the same step of others: GEM's and SkyRL-gym's search environments.

All play one scripted episode, three searches and an answer, with a retriever that returns fixed passages at
no cost. N episodes are alive at once and stepped in turn (here: by the vector environment from 64 on). Each
player has a process of its own, for Python's garbage collector makes one pay for what others hold; their
repeats are interleaved. Prints JSON: for each player and N the CPU microseconds of an episode
over its four steps (``us_a_step``: its beginning is counted in) and those of a step alone
(``us_stepping_alone``), each as the median and the quartiles over the repeats, and the bytes that an episode
holds when it has been played. A peer that is not installed is named and left out.

    pip install gem-llm msgspec skyrl-gym
    python benchmarks/peers.py
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import multiprocessing
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import lru_cache
from typing import Any

from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs import SearchQAEnv, SearchQAVectorEnv
from igpo_gym.episode import Passage, Question

TEXT = (
    "Günter Grass was born in the Free City of Danzig on the sixteenth of October 1927, to parents who kept "
    "a grocery store with an attached apartment in Langfuhr. His first novel, a key text of European magic "
    "realism, is set there, and so are the two books that followed it; the three are known as a trilogy. He "
    "trained as a stonemason before he wrote."
)
PASSAGES = [Passage(str(number), f"Title {number}", f"{TEXT} Number {number}.") for number in range(3)]
FOUND = [{"document": {"contents": f"{each.title}\n{each.text}"}, "score": 1.0} for each in PASSAGES]
THOUGHT = "<think>I know the author, so the next thing to find out is where he was born.</think>"
SCRIPT = [
    f"{THOUGHT}<search>author of The Tin Drum %d</search>",
    f"{THOUGHT}<search>where was Günter Grass born %d</search>",
    f"{THOUGHT}<search>river of the Free City of Danzig %d</search>",
    f"{THOUGHT}<answer>the Vistula %d</answer>",
]
"""With the episode's number, so that nothing is the same for two episodes but the passages."""
ALIVE = (1, 64, 1024)
TIMES = ("us_a_step", "us_stepping_alone")
ASKED = [(f"Question {number}: which river?", "Vistula") for number in range(100)]

Step = Callable[[list[str]], object]
"""Plays a message in each episode."""
Begin = Callable[[], Step]
"""Begins the episodes."""
Play = Callable[[int], Begin]
"""Makes so many environments."""


class Fixed:
    """A retriever that finds the same passages for every query."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        return [PASSAGES for _ in queries]


def ours(info: str) -> Play:
    questions = QuestionSet(
        "bench", [Question(str(number), *text) for number, text in enumerate((q, (a,)) for q, a in ASKED)]
    )
    settings: dict[str, Any] = {"questions": questions, "search": Fixed(), "scorer": None, "info": info}
    settings["reward"] = "outcome-em"

    def made(count: int) -> Begin:
        if count == 1:
            env = SearchQAEnv(**settings)

            def begin_one() -> Step:
                env.reset()
                return lambda messages: env.step(messages[0])

            return begin_one
        many = SearchQAVectorEnv(count, **settings)

        def begin() -> Step:
            many.reset()
            return many.step

        return begin

    return made


def gem() -> Play:
    from datasets import Dataset, disable_progress_bars
    from gem.envs.qa_env import QaEnv
    from gem.tools.search_tool import SearchTool
    from gem.tools.tool_env_wrapper import ToolEnvWrapper

    class FixedTool(SearchTool):  # type: ignore[misc]
        def _search(self, query: str) -> str:
            found: str = self._passages2string(FOUND)
            return found

    disable_progress_bars()
    rows = [{"question": question, "answer": answer} for question, answer in ASKED]
    one = QaEnv(dataset=Dataset.from_list(rows))

    def made(count: int) -> Begin:
        envs = [ToolEnvWrapper(copy.copy(one), [FixedTool()]) for _ in range(count)]

        def begin() -> Step:
            for env in envs:
                env.reset()
            return lambda messages: [env.step(message) for env, message in zip(envs, messages, strict=True)]

        return begin

    return made


def skyrl() -> Play:
    import skyrl_gym.tools.search as tool
    from skyrl_gym.envs.search.env import SearchEnv, SearchEnvConfig

    tool.call_search_api = lambda **_: ({"result": [FOUND]}, None)
    config = SearchEnvConfig()
    rows = [
        {"reward_spec": {"ground_truth": {"target": [answer]}}, "max_turns": 6, "question": question}
        for question, answer in ASKED
    ]

    def made(count: int) -> Begin:
        def begin() -> Step:
            envs = [SearchEnv(config, rows[number % len(rows)]) for number in range(count)]
            for number, env in enumerate(envs):
                env.init([{"role": "user", "content": str(rows[number % len(rows)]["question"])}])
            return lambda messages: [env.step(message) for env, message in zip(envs, messages, strict=True)]

        return begin

    return made


def messages_of(count: int) -> list[list[str]]:
    """For each turn the messages of all episodes."""
    return [[message % number for number in range(count)] for message in SCRIPT]


def microseconds(begin: Begin, count: int, steps: int) -> tuple[float, float]:
    """Of an episode over its steps, and of a step alone, over at least so many steps."""
    beginning, stepping, rounds = 0.0, 0.0, max(1, steps // (count * len(SCRIPT)))
    turns = messages_of(count)
    for _ in range(rounds):
        first = time.process_time()
        step = begin()
        second = time.process_time()
        for messages in turns:
            step(messages)
        stepping += time.process_time() - second
        beginning += second - first
    share = 1e6 / (rounds * count * len(SCRIPT))
    return share * (beginning + stepping), share * stepping


def bytes_an_episode(made: Play, count: int = 256) -> float:
    """What an episode holds, its environment included, when all its messages have been played."""
    turns = messages_of(count)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    step = made(count)()
    for messages in turns:
        step(list(map(str.strip, messages)))
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / count


PLAYERS: dict[str, Callable[[], Play]] = {
    "ours, info=metrics": lambda: ours("metrics"),
    "ours, info=full": lambda: ours("full"),
    "gem": gem,
    "skyrl-gym": skyrl,
}


@lru_cache(maxsize=1)
def begin_of(name: str, count: int) -> Begin:
    """The environments of a player in this process, of one count at a time; the first steps are not timed."""
    begin = PLAYERS[name]()(count)
    microseconds(begin, count, 4)
    return begin


def timed(name: str, count: int, steps: int) -> tuple[float, float]:
    return microseconds(begin_of(name, count), count, steps)


def held(name: str) -> float:
    begin_of(name, 4)  # what is imported or made once is not an episode's
    return bytes_an_episode(PLAYERS[name]())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--steps", type=int, default=4096, help="of all episodes together, a repeat")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        processes = {name: stack.enter_context(ProcessPoolExecutor(1, context)) for name in PLAYERS}
        for name, process in list(processes.items()):
            try:
                results[name] = {"bytes_an_episode": round(process.submit(held, name).result())}
            except ModuleNotFoundError as missing:
                results[name] = f"left out: {missing}"
                del processes[name]
        times: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for count in ALIVE:
            for _ in range(options.repeats):
                for name, process in processes.items():
                    found = process.submit(timed, name, count, options.steps).result()
                    times.setdefault((name, count), []).append(found)
    for (name, count), own in times.items():
        for title, values in zip(TIMES, zip(*own, strict=True), strict=True):
            low, middle, high = statistics.quantiles(values, n=4)
            results[name][f"{title}_of_{count}"] = [round(each, 1) for each in (middle, low, high)]
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
