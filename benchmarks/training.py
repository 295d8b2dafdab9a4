"""What training costs, part by part. Each part prints a JSON line with its ratio to a baseline in one run.

    python benchmarks/training.py sampling
    python benchmarks/training.py scoring
    python benchmarks/training.py update

``sampling``: tokens per second of a policy that plays many episodes of several turns at once, against
``model.generate`` on the same transcripts, padded to one length, for as many tokens as the longest message of
the turn has.

``scoring``: what beliefs add to the time of an update, rollouts and learning together, when the policy is the
scorer and they share a prefix cache, and beliefs are asked for once an episode has ended. Both ways play the
same episodes and learn from them alike.

``update``: tokens per second of the forward and backward passes over a batch of rollouts, in which what
episodes begin with alike stands once, against the bare matrix products of the same tokens: of the linear
layers and of causal attention, forward and backward, and of the output projection where the agent wrote.

The ways alternate; one thread, and CPU time unless ``--threads`` says otherwise.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from measuring import seconds
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from igpo_gym.agents.policies.language_model import LanguageModelPolicy
from igpo_gym.agents.rollouts.branches import grouped
from igpo_gym.agents.rollouts.tokens import token_rows
from igpo_gym.agents.training.batches import Batch, micro_batches, samples, turns_of
from igpo_gym.agents.training.loss import learn
from igpo_gym.agents.training.run import Run
from igpo_gym.agents.training.settings import Settings
from igpo_gym.config import EnvConfig
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import Episode
from igpo_gym.lm.policy import Sampling


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
    questions, engine = assemble(EnvConfig(scorer=None, reward="outcome-f1"))
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


def run(model: str, batch: int, max_tokens: int, scorer: str) -> Run:
    """A training run with groups of eight, of which one batch is played and learned from."""
    settings = Settings(
        model=model,
        scorer=scorer,
        reward="outcome-f1",
        advantages="grpo",
        batch_questions=batch // 8,
        max_tokens=max_tokens,
        learning_rate=0.0,  # so that all batches are of one policy
        device="cpu",
    )
    return Run(Path(), settings)


def batches(run: Run, episodes: Sequence[Episode]) -> list[Batch]:
    rows = [token_rows(episode, run.framing) for episode in episodes]
    turns = turns_of(grouped(episodes, run.settings.group_size), run.engine.reward)
    ones = np.ones(len(turns))
    made = samples(rows, turns, ones, (0.2 * ones, 0.2 * ones), run.settings.loss)
    return micro_batches(made, run.settings.micro_batch, run.model.device)


def step(run: Run, episodes: Sequence[Episode]) -> None:
    learn(run.model, run.optimizer, [batches(run, episodes)], run.settings, run.reference)


def scoring(model: str, batch: int, repeats: int, max_tokens: int) -> dict[str, object]:
    """The time of an update with beliefs and without, medians over ``repeats`` batches."""
    runs = {name: run(model, batch, max_tokens, scorer) for name, scorer in WAYS.items()}
    spent: dict[str, list[float]] = {
        f"{part}, {name}": [] for name in runs for part in ("rollouts", "update")
    }
    for repeat in range(repeats + 1):
        for name, way in runs.items():
            way.updates = repeat
            episodes: list[Episode] = []
            taken = seconds(lambda: episodes.extend(way.rollouts())), seconds(lambda: step(way, episodes))  # noqa: B023
            if repeat:
                for part, value in zip(("rollouts", "update"), taken, strict=True):
                    spent[f"{part}, {name}"].append(value)
    medians = {name: statistics.median(values) for name, values in spent.items()}
    # The updates differ by noise alone, and are the longer part.
    update = statistics.mean(medians[f"update, {name}"] for name in runs)
    plain = medians["rollouts, outcome only"] + update
    return {
        "part": "scoring",
        "model": model,
        "batch": batch,
        "seconds": medians,
        "overhead": (medians["rollouts, beliefs"] - medians["rollouts, outcome only"]) / plain,
        "overhead_of_rollouts_alone": medians["rollouts, beliefs"] / medians["rollouts, outcome only"] - 1,
    }


WAYS = {"beliefs": "policy", "outcome only": "none"}


def products(model: PreTrainedModel, stretches: Sequence[tuple[int, int]], written: int) -> float:
    """Seconds of the matrix products of a forward and a backward pass: the limit.

    ``stretches`` are how many tokens attend to each other, causally, and to how many before them all.
    """
    config = model.config
    linear = [m.weight.detach() for m in model.base_model.modules() if isinstance(m, torch.nn.Linear)]
    head = model.get_output_embeddings().weight.detach()
    tokens = sum(own for own, _ in stretches)
    shapes = {weight.shape for weight in linear}
    inputs = {shape: (torch.randn(tokens, shape[1]), torch.randn(tokens, shape[0])) for shape in shapes}
    hidden, logits = torch.randn(written, head.shape[1]), torch.randn(written, head.shape[0])
    size = linear[0].shape[0] // config.num_attention_heads
    blocks = []
    for own, before in stretches:
        query = torch.randn(config.num_attention_heads, own, size)
        # Of its own stretch a token sees half on average.
        keys = torch.randn(config.num_attention_heads, before + (own + 1) // 2, size)
        blocks.append((query, keys, query @ keys.mT))

    def thrice(x: torch.Tensor, weight: torch.Tensor, gradient: torch.Tensor) -> None:
        torch.nn.functional.linear(x, weight)
        torch.mm(gradient, weight)
        torch.mm(gradient.T, x)

    def work() -> None:
        for weight in linear:
            thrice(inputs[weight.shape][0], weight, inputs[weight.shape][1])
        thrice(hidden, head, logits)
        for _ in range(config.num_hidden_layers):
            for query, keys, scores in blocks:
                torch.bmm(query, keys.mT)  # the scores; the same again for their gradient
                torch.bmm(query, keys.mT)
                torch.bmm(scores, keys)  # the values; the same again for the gradient of the queries
                torch.bmm(scores, keys)
                torch.bmm(scores.mT, query)  # the gradients of keys and of values
                torch.bmm(scores.mT, query)

    taken: float = seconds(work)
    return taken


def update(model: str, batch: int, repeats: int, max_tokens: int) -> dict[str, object]:
    """Forward and backward passes over one batch against their matrix products, medians over ``repeats``."""
    way = run(model, batch, max_tokens, "none")
    made = batches(way, way.rollouts())
    stretches = [(s.stop - s.start, s.start) for each in made for s in each.packing.stretches]
    tokens, written = sum(own for own, _ in stretches), sum(len(each.sampled) for each in made)
    settings = replace(way.settings, epochs=1, kl_coef=0.0)
    times: dict[str, list[float]] = {"update": [], "products": []}
    for repeat in range(repeats + 1):
        taken = {
            "update": seconds(lambda: learn(way.model, way.optimizer, [made], settings)),
            "products": products(way.model, stretches, written),
        }
        if repeat:
            for name, value in taken.items():
                times[name].append(value)
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "part": "update",
        "model": model,
        "batch": batch,
        "tokens": tokens,
        "written": written,
        "tokens_per_second": {name: tokens / median for name, median in medians.items()},
        "ratio": medians["products"] / medians["update"],
    }


PARTS = {"sampling": sampling, "scoring": scoring, "update": update}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--model", default="nano")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = PARTS[options.part](options.model, options.batch, options.repeats, options.max_tokens)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
