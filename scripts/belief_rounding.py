"""By how much do sizes of batches and the prefix cache move beliefs? It is rounding, and this tells how much.

    python scripts/belief_rounding.py nano
    python scripts/belief_rounding.py smollm2 --states 8

The expert plays episodes of the generated world. Their states are asked about turn by turn, as an environment
asks, 1, 8 and 64 in a call, with a cache that holds all, a quarter of it, and none. Prints a line of JSON for
each: the largest differences to one state in a call without a cache, in nats: of an answer's mean
log-probability, which is the belief, and of a single token's; and the tokens that were forwarded.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import islice, zip_longest
from typing import Any

from igpo_gym.agents.policies import ScriptedAgent
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.config import EnvConfig
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import Belief
from igpo_gym.lm.loading import load_model
from igpo_gym.lm.reader import CACHE_BYTES
from igpo_gym.rewards.belief_requests import trajectory_requests
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.local import TransformersScorer

SIZES = (1, 8, 64)


def states(count: int) -> list[BeliefRequest]:
    """So many states of episodes, those of a turn next to each other."""
    questions, engine = assemble(EnvConfig(questions="world:test", scorer="none", reward="outcome-f1"))
    expert = ScriptedAgent("expert", questions)
    played = collect(engine, expert, questions.questions[: count // 3], batch_size=64)
    turns = zip_longest(*(trajectory_requests(episode) for episode in played))
    return list(islice((each for turn in turns for each in turn if each is not None), count))


def beliefs(scorer: TransformersScorer, asked: Sequence[BeliefRequest], size: int) -> list[Belief]:
    """What the scorer believes, asked about ``size`` states in a call."""
    calls = [asked[start : start + size] for start in range(0, len(asked), size)]
    return [belief for call in calls for belief in scorer.score(call)]


def difference(found: Sequence[Belief], right: Sequence[Belief]) -> dict[str, float]:
    """The largest differences, in nats."""
    means, tokens = [0.0], [0.0]
    for one, other in zip(found, right, strict=True):
        means += [abs(a - b) for a, b in zip(one.log_probs, other.log_probs, strict=True)]
        for own, others in zip(one.token_log_probs, other.token_log_probs, strict=True):
            tokens += [abs(a - b) for a, b in zip(own, others, strict=True)]
    return {"belief": float(f"{max(means):.2g}"), "token": float(f"{max(tokens):.2g}")}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--states", type=int, default=192, help="how many are asked about (192)")
    arguments = parser.parse_args()
    asked = states(arguments.states)
    model, tokenizer = load_model(arguments.model, "cpu")
    right = beliefs(TransformersScorer(model, tokenizer, cache_bytes=0), asked, 1)
    whole = CACHE_BYTES
    for cache in ("whole", "a quarter", "none"):
        budget = {"whole": CACHE_BYTES, "a quarter": whole // 4, "none": 0}[cache]
        for size in SIZES:
            scorer = TransformersScorer(model, tokenizer, cache_bytes=budget)
            found = difference(beliefs(scorer, asked, size), right)
            if cache == "whole":
                whole = scorer.stats.cache_bytes
            told: dict[str, Any] = {"cache": cache, "batch": size, "states": len(asked), **found}
            print(json.dumps({**told, "tokens": scorer.stats.tokens_forwarded}), flush=True)


if __name__ == "__main__":
    main()
