"""What the environment adds to the search it calls: steps a second with no scorer, against the bare index.

Prints JSON. ``overhead_us`` is the environment's own time a step; ``ratio`` the whole step against the search
alone, on the same queries, in the same run, interleaved.

    python benchmarks/env_steps.py
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from typing import Any

import gymnasium as gym

import igpo_gym  # noqa: F401
from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs import SearchQAVectorEnv
from igpo_gym.episode import Passage, Question
from igpo_gym.search.bm25 import BM25Index

WORDS = [f"word{number}" for number in range(20_000)]


def text(rng: random.Random, length: int) -> str:
    """Words with frequencies that fall as Zipf's law says."""
    weights = [1 / (rank + 1) for rank in range(len(WORDS))]
    return " ".join(rng.choices(WORDS, weights, k=length))


def corpus(rng: random.Random, size: int) -> list[Passage]:
    drawn = text(rng, size * 60).split()
    return [
        Passage(str(number), f"Title {number}", " ".join(drawn[number * 60 : number * 60 + 60]))
        for number in range(size)
    ]


def measure(index: BM25Index, queries: list[str], count: int, repeats: int) -> dict[str, float]:
    """Medians over ``repeats`` of the seconds a step of ``count`` environments, and of the searches alone."""
    questions = QuestionSet("bench", [Question(str(n), f"Question {n}?", ("a",)) for n in range(100)])
    settings: dict[str, Any] = {"questions": questions, "search": index, "max_turns": 10, "top_k": 5}
    single = gym.make("SearchQA-Outcome-v0", **settings).unwrapped
    many = SearchQAVectorEnv(count, **settings, scorer=None, reward="outcome-f1")
    env_times, bare_times = [], []
    rounds = len(queries) // count
    for repeat in range(repeats):
        env_seconds = bare_seconds = 0.0
        for turn in range(rounds):
            batch = queries[turn * count : turn * count + count]
            messages = [f"<think>I wonder</think><search>{query}</search>" for query in batch]
            if count == 1 and turn % 10 == 0:
                single.reset(seed=turn)
            elif turn % 10 == 0:
                many.reset(seed=turn)
            first, second = (0, 1) if (turn + repeat) % 2 else (1, 0)
            for job in (first, second):
                began = time.perf_counter()
                if job == 0:
                    index.search(batch, 5)
                    bare_seconds += time.perf_counter() - began
                elif count == 1:
                    single.step(messages[0])
                    env_seconds += time.perf_counter() - began
                else:
                    many.step(messages)
                    env_seconds += time.perf_counter() - began
        env_times.append(env_seconds / (rounds * count))
        bare_times.append(bare_seconds / (rounds * count))
    step, search = statistics.median(env_times), statistics.median(bare_times)
    return {
        "step_us": 1e6 * step,
        "search_us": 1e6 * search,
        "overhead_us": 1e6 * (step - search),
        "ratio": step / search,
        "steps_per_second": 1 / step,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, default=10_000)
    parser.add_argument(
        "--steps", type=int, default=1280, help="steps of all environments together, a repeat"
    )
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rng = random.Random(0)
    index = BM25Index.build(corpus(rng, options.passages))
    drawn = text(rng, options.steps * 6).split()
    queries = [" ".join(drawn[start : start + 6]) for start in range(0, len(drawn), 6)]
    results = {
        "passages": options.passages,
        **{f"envs_{count}": measure(index, queries, count, options.repeats) for count in (1, 64)},
    }
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
