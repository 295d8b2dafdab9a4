"""What a scorer's memory is at its peak, against its weights and its cache's budget.

    python benchmarks/scorer_memory.py --model FOLDER

Episodes whose keys and values are several times the budget are scored turn by turn, so the cache is always
full. ``peak_over_budget`` is the growth of the process's peak resident memory since its imports, over weights
plus budget; a fresh process measures it.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys

import torch
from scoring import TURN_TOKENS, ask, episode, tiny_model

from igpo_gym.lm.loading import load_model
from igpo_gym.scorers.local import TransformersScorer


def peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="nano", help="tiny, or what a scorer can be loaded from")
    parser.add_argument("--cache-mb", type=int, default=512)
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--turns", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    # A model's first forward pass imports much of transformers and loads the kernels: not the scorer's.
    warm, tokenizer = tiny_model()
    TransformersScorer(warm, tokenizer, cache_bytes=0).score([])
    before = peak_bytes()
    model, tokenizer = tiny_model() if options.model == "tiny" else load_model(options.model, device="cpu")
    weights = sum(weight.nbytes for weight in {*model.parameters(), *model.buffers()})
    budget = options.cache_mb << 20
    scorer = TransformersScorer(model, tokenizer, cache_bytes=budget)
    transcripts = [episode(scorer, [TURN_TOKENS] * options.turns, seed) for seed in range(options.episodes)]
    for turn in range(options.turns + 1):
        scorer.score([ask(transcript[turn]) for transcript in transcripts])
    stats = scorer.stats
    grown = peak_bytes() - before
    print(
        json.dumps(
            {
                "model": options.model,
                "peak_over_budget": grown / (weights + budget),
                "megabytes": {
                    "peak": grown >> 20,
                    "weights": weights >> 20,
                    "cache_budget": budget >> 20,
                    "cache_held": stats.cache_bytes >> 20,
                },
                "tokens_forwarded_over_minimum": stats.tokens_forwarded / stats.tokens_minimum,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
