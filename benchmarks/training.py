"""What training costs, part by part. Each part prints a JSON line with its ratio to a baseline in one run.

    python benchmarks/training.py sampling

``sampling``: tokens per second of a policy that plays many episodes of several turns at once, against
``model.generate`` on the same transcripts, padded to one length, for as many tokens as the longest message of
the turn has. The ways alternate turn by turn; one thread, and CPU time unless ``--threads`` says otherwise.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from igpo_gym.agents.interface import Sampling
from igpo_gym.agents.policies import LanguageModelPolicy
from igpo_gym.envs.setup import assemble


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds on one thread, wall-clock seconds on more."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    started = clock()
    work()
    return clock() - started


def generate(policy: LanguageModelPolicy, contexts: Sequence[Sequence[int]], tokens: int) -> None:
    """The messages by transformers' own sampling, which knows nothing of earlier turns."""
    rows = [torch.tensor(context).flip(0) for context in contexts]
    ids = pad_sequence(rows, batch_first=True, padding_value=-1).flip(1)
    policy.reader.model.generate(
        ids.clamp(min=0),
        attention_mask=(ids >= 0).long(),
        do_sample=True,
        top_k=0,
        min_new_tokens=tokens,
        max_new_tokens=tokens,
        pad_token_id=0,
    )


def sampling(model: str, batch: int, repeats: int, max_tokens: int) -> dict[str, object]:
    """Tokens per second of a policy and of ``generate``, medians over ``repeats`` sets of episodes."""
    questions, engine = assemble("world", None, "none", "outcome-f1", "tags", 6, 3)
    policy = LanguageModelPolicy.load(model, sampling=Sampling(max_tokens=max_tokens))
    rates: dict[str, list[float]] = {"policy": [], "generate": []}
    for repeat in range(repeats + 1):
        episodes = engine.begin(questions.questions[repeat * batch : (repeat + 1) * batch])
        spent, tokens, turns = {"policy": 0.0, "generate": 0.0}, 0, 0
        while running := [episode for episode in episodes if not episode.done]:
            contexts = [policy.framing.ids(episode.segments) for episode in running]
            messages = []
            spent["policy"] += seconds(lambda: messages.extend(policy.act(running)))  # noqa: B023
            longest = max(len(message.ids) for message in messages)
            spent["generate"] += seconds(lambda: generate(policy, contexts, longest))  # noqa: B023
            tokens += sum(len(message.ids) for message in messages)
            turns += len(messages)
            engine.settle(engine.play(running, messages))
        if repeat:  # the first one warms up
            for way, total in spent.items():
                rates[way].append(tokens / total)
    medians = {way: statistics.median(values) for way, values in rates.items()}
    return {
        "part": "sampling",
        "model": model,
        "batch": batch,
        "turns": turns,
        "tokens_a_turn": tokens / turns,
        "tokens_per_second": medians,
        "ratio": medians["policy"] / medians["generate"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("part", choices=["sampling"])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = sampling(options.model, options.batch, options.repeats, options.max_tokens)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
