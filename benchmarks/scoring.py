"""What a belief costs: the scorer against re-forwarding the transcript, and against bare matrix products.

    python benchmarks/scoring.py --full --model FOLDER --json scoring.json

One thread and CPU time; the ways alternate turn by turn in one run, and each figure is a ratio of medians.
``limit`` is the matrix products that nothing can avoid: the linear layers of the new tokens, the output
projection where an answer token is predicted, and the causal attention of the new tokens, as plain products.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from measuring import seconds
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from igpo_gym.episode import Segment
from igpo_gym.lm.loading import load_model
from igpo_gym.protocols import TAGS
from igpo_gym.scorers.answer_tree import answer_tree
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.scorers.prompts import query_of

TURNS, TURN_TOKENS, PROMPT_TOKENS = 10, 600, 200
KEY_BLOCK = 512
ANSWERS = (
    "Günter Wilhelm Grass", "the River Thames", "a novel of 1959", "North Carolina", "King William IV",
    "Lübeck, Germany", "railway engineer", "Paris Saint-Germain", "eleven albums", "Anna of Denmark",
)  # fmt: skip
ALIASES = tuple(
    f"{kind}{name}{place}"
    for name in ("Danzig", "Gdansk", "Gdańsk", "Dantzig", "Gdanzk")
    for place in ("", " Poland", ", Poland", " Prussia", " Pomerania", " on the Vistula")
    for kind in ("", "city of ", "City of ", "port of ", "history of ", "radio stations in ")
)[:178]
"""As many as the question of TriviaQA with the most has, which are of this kind."""
WORDS = (
    "the", "a", "of", "in", "was", "by", "novel", "river", "city", "author", "king", "born", "wrote", "1959",
    "between", "North", "railway", "film", "album", "he",
)  # fmt: skip


@dataclass
class Setting:
    model: LlamaForCausalLM
    scorer: TransformersScorer
    new_scorer: Callable[[], TransformersScorer]
    turns: int
    repeats: int


def tiny_model() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A random Llama of a million parameters, for which overhead is what counts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1024, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([" ".join(WORDS), TAGS.user(TAGS), TAGS.probe.prefix, *ANSWERS], trainer)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1024, hidden_size=128, intermediate_size=352, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=16384,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval(), PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def text(scorer: TransformersScorer, tokens: int, draw: random.Random) -> str:
    """Words that make about ``tokens`` tokens."""
    sample = " ".join(draw.choices(WORDS, k=tokens))
    return " ".join(sample.split()[: round(tokens * tokens / len(scorer.framing.text_ids(sample)))]) + "\n"


def episode(scorer: TransformersScorer, turn_tokens: list[int], seed: int) -> list[tuple[Segment, ...]]:
    """The transcripts of an episode: after the prompt, and after each turn."""
    draw = random.Random(seed)
    segments = [Segment("environment", "user", text(scorer, PROMPT_TOKENS, draw))]
    transcripts = [tuple(segments)]
    for tokens in turn_tokens:
        segments.append(Segment("agent", "assistant", text(scorer, tokens // 6, draw)))
        segments += TAGS.reply(text(scorer, tokens - tokens // 6, draw))
        transcripts.append(tuple(segments))
    return transcripts


def ask(transcript: tuple[Segment, ...], answers: tuple[str, ...] = ANSWERS[:1]) -> BeliefRequest:
    return BeliefRequest(transcript, answers, TAGS.probe)


@torch.no_grad()
def reforward(setting: Setting, request: BeliefRequest, all_logits: bool) -> float:
    """The belief's log-probability by one forward pass over everything."""
    framing = setting.scorer.framing
    answer = framing.text_ids(request.answers[0])
    ids = torch.tensor([framing.ids(request.segments) + framing.text_ids(request.probe.prefix) + answer])
    keep = 0 if all_logits else len(answer) + 1
    logits = setting.model(input_ids=ids, use_cache=False, logits_to_keep=keep).logits[0]
    log_probs = logits.log_softmax(-1)[-len(answer) - 1 : -1]
    return float(log_probs[torch.arange(len(answer)), list(answer)].mean())


@torch.no_grad()
def limit(setting: Setting, past: int, new: int, branch: int, predicted: int) -> float:
    """CPU seconds of the matrix products alone, for new transcript tokens and a branch behind them."""
    model, config = setting.model, setting.model.config
    tokens = new + branch
    linear = [m.weight for m in model.base_model.modules() if isinstance(m, torch.nn.Linear)]
    inputs = {width: torch.randn(tokens, width) for width in {weight.shape[1] for weight in linear}}
    heads, groups = config.num_key_value_heads, config.num_attention_heads // config.num_key_value_heads
    size = linear[0].shape[0] // config.num_attention_heads
    products = []  # in blocks that a cache holds, as a good kernel does
    for rows, keys in ((new, past + (new + 1) // 2), (branch, past + new + (branch + 1) // 2)):
        # Causal attention is half a rectangle: as many keys as a token sees on average.
        for start in range(0, keys if rows else 0, KEY_BLOCK):
            query = torch.randn(heads, groups * rows, size)
            key = torch.randn(heads, min(KEY_BLOCK, keys - start), size)
            products.append((query, key, query @ key.mT, query.clone()))
    hidden = torch.randn(predicted, config.hidden_size)

    def work() -> None:
        for weight in linear:
            torch.nn.functional.linear(inputs[weight.shape[1]], weight)
        for _ in range(config.num_hidden_layers):
            for query, key, scores, out in products:
                torch.bmm(query, key.mT, out=scores)
                torch.bmm(scores, key, out=out)
        torch.nn.functional.linear(hidden, model.get_output_embeddings().weight)

    taken: float = seconds(work)
    return taken


def by_turn(setting: Setting) -> dict[str, object]:
    """A belief after each turn of an episode, each way."""
    scorer = setting.scorer
    transcripts = episode(scorer, [TURN_TOKENS] * setting.turns, seed=0)
    lengths = [len(scorer.framing.ids(transcript)) for transcript in transcripts]
    probe = len(scorer.framing.text_ids(TAGS.probe.prefix))
    answer = len(scorer.framing.text_ids(ANSWERS[0]))
    names = ("scorer", "reforward", "reforward_answer_logits", "limit")
    times: dict[str, list[list[float]]] = {name: [[] for _ in transcripts] for name in names}
    difference = 0.0
    for repeat in range(setting.repeats):
        scorer.clear()
        before = scorer.stats
        for turn, transcript in enumerate(transcripts):
            request = ask(transcript)
            past = lengths[turn - 1] if turn else 0
            beliefs: dict[str, float] = {}

            def scored(request: BeliefRequest = request, beliefs: dict[str, float] = beliefs) -> None:
                beliefs["scorer"] = scorer.score([request])[0].log_prob

            def forwarded(request: BeliefRequest = request, beliefs: dict[str, float] = beliefs) -> None:
                beliefs["reforward"] = reforward(setting, request, all_logits=True)

            ways: dict[str, Callable[[], float]] = {
                "scorer": partial(seconds, scored),
                "reforward": partial(seconds, forwarded),
                "reforward_answer_logits": partial(
                    seconds, partial(reforward, setting, request, all_logits=False)
                ),
                "limit": partial(limit, setting, past, lengths[turn] - past, probe + answer - 1, answer),
            }
            shift = (turn + repeat) % len(names)
            for name in names[shift:] + names[:shift]:
                times[name][turn].append(ways[name]())
            difference = max(difference, abs(math.exp(beliefs["scorer"]) - math.exp(beliefs["reforward"])))
        stats = scorer.stats
    forwarded_tokens = stats.tokens_forwarded - before.tokens_forwarded
    medians = {name: [statistics.median(each) for each in times[name]] for name in names}
    total = {name: sum(medians[name]) for name in names}
    spent = [sum(medians["scorer"][: turn + 1]) for turn in range(setting.turns + 1)]
    return {
        f"speedup_over_reforward_{setting.turns}_turns": total["reforward"] / total["scorer"],
        f"speedup_over_reforward_answer_logits_{setting.turns}_turns": total["reforward_answer_logits"]
        / total["scorer"],
        "time_over_limit": total["scorer"] / total["limit"],
        "largest_possible_speedup": total["reforward"] / total["limit"],
        "tokens_over_minimum": forwarded_tokens / (lengths[-1] + len(lengths) * (probe + answer - 1)),
        "exponent_of_time_in_turns": exponent(spent[1:]),
        "exponent_of_reforwarding": exponent(
            [sum(medians["reforward"][: turn + 1]) for turn in range(1, setting.turns + 1)]
        ),
        "largest_difference_of_probability": difference,
        "seconds_by_turn": medians,
        "transcript_tokens": lengths,
    }


def exponent(spent: list[float]) -> float:
    """The slope of log time over log turns, by least squares."""
    turns = [math.log(turn) for turn in range(1, len(spent) + 1)]
    return statistics.linear_regression(turns, [math.log(each) for each in spent]).slope


def alternated(repeats: int, **ways: Callable[[], object]) -> dict[str, float]:
    """Median CPU seconds of each way, taken in turns, after one unmeasured round."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, work in ways.items():
            taken = seconds(work)
            if repeat:
                times[name].append(taken)
    return {name: statistics.median(each) for name, each in times.items()}


def aliases(setting: Setting) -> dict[str, object]:
    """Ten answers, and all aliases of one, against one, behind a transcript that is in the cache."""
    scorer, framing = setting.scorer, setting.scorer.framing
    asked = {"one": ANSWERS[:1], "ten": ANSWERS, str(len(ALIASES)): ALIASES}
    transcript = episode(scorer, [TURN_TOKENS] * min(5, setting.turns), seed=1)[-1]
    ways = {
        name: lambda answers=answers: scorer.score([ask(transcript, answers)])
        for name, answers in asked.items()
    }
    times = alternated(3 * setting.repeats, **ways)
    branches = {name: query_of(framing, ask(transcript, answers)).answers for name, answers in asked.items()}
    tokens = {name: len(answer_tree(branch).tokens) for name, branch in branches.items()}
    alone = {
        name: sum(len(answer.before) + len(answer.ids) - 1 for answer in branch)
        for name, branch in branches.items()
    }
    figures: dict[str, object] = {"seconds": times}
    for name in [*asked][1:]:
        figures |= {
            f"{name}_answers_over_one": times[name] / times["one"],
            f"tokens_{name}_over_one": tokens[name] / tokens["one"],
            f"tokens_{name}_over_one_by_one": tokens[name] / alone[name],
        }
    return figures


@torch.no_grad()
def padded(setting: Setting, requests: list[BeliefRequest]) -> list[float]:
    """The beliefs of a batch padded to its longest transcript, logits at the answers alone."""
    framing, model = setting.scorer.framing, setting.model
    answer = framing.text_ids(ANSWERS[0])
    tail = framing.text_ids(TAGS.probe.prefix) + answer
    rows = [torch.tensor(framing.ids(request.segments) + tail[:-1]) for request in requests]
    ids = pad_sequence(rows, batch_first=True)  # padding comes last, where causal attention does not look
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    last = torch.stack([hidden[i, len(row) - len(answer) : len(row)] for i, row in enumerate(rows)])
    log_probs = model.get_output_embeddings()(last).log_softmax(-1)
    means: list[float] = log_probs[:, torch.arange(len(answer)), list(answer)].mean(1).tolist()
    return means


def batches(setting: Setting) -> dict[str, object]:
    """Sixteen transcripts of unequal length and nothing in common, in one call without anything cached."""
    draw = random.Random(2)
    lengths = [draw.randint(TURN_TOKENS // 6, TURN_TOKENS * 11 // 6) for _ in range(16)]
    requests = [ask(episode(setting.scorer, [tokens], seed=seed)[-1]) for seed, tokens in enumerate(lengths)]
    scorer = setting.new_scorer()

    def ragged() -> None:
        scorer.clear()
        scorer.score(requests)

    times = alternated(setting.repeats, ragged=ragged, padded=lambda: padded(setting, requests))
    return {"ragged_over_padded_speedup": times["padded"] / times["ragged"], "seconds": times}


def shared_prompts(setting: Setting) -> dict[str, object]:
    """Sixteen rollouts of one question: what is forwarded when the prompt is there once."""
    scorer = setting.new_scorer()
    requests = []
    for member in range(16):
        prompt = episode(scorer, [], seed=3)[0]
        requests.append(ask((*prompt, *episode(scorer, [TURN_TOKENS // 6], seed=4 + member)[1][1:])))
    scorer.score(requests)
    prompt_tokens = len(scorer.framing.ids(requests[0].segments[:1]))
    alone = scorer.stats.tokens_forwarded + scorer.stats.tokens_reused
    return {
        "tokens_over_minimum": scorer.stats.tokens_forwarded / scorer.stats.tokens_minimum,
        "tokens_over_unshared": scorer.stats.tokens_forwarded / alone,
        "prompt_tokens": prompt_tokens,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument("--quick", action="store_true", help="3 turns, one repeat (the default is --full)")
    effort.add_argument("--full", action="store_true", help="10 turns, three repeats")
    parser.add_argument("--model", default="tiny", help="tiny, or what a scorer can be loaded from")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = tiny_model() if options.model == "tiny" else load_model(options.model, device="cpu")

    def new_scorer() -> TransformersScorer:
        return TransformersScorer(model, tokenizer)

    setting = Setting(
        model, new_scorer(), new_scorer, 3 if options.quick else TURNS, 1 if options.quick else 3
    )
    parts = {"aliases": aliases, "batches": batches, "shared_prompts": shared_prompts, "by_turn": by_turn}
    figures: dict[str, object] = {"model": options.model, "repeats": setting.repeats}
    for name, part in parts.items():
        figures[name] = part(setting)
        print(json.dumps({name: figures[name]}, indent=2), flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
