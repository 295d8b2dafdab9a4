"""Beliefs against one plain forward pass per answer; tokens against the exact minimum."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM

from igpo_gym.agents.policies.language_model import LanguageModelPolicy
from igpo_gym.episode import Belief, Question, Segment
from igpo_gym.errors import ScoringError, SpecError
from igpo_gym.lm import attention
from igpo_gym.lm.families import SLIDING
from igpo_gym.protocols import TAGS, AnswerProbe
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.local import TransformersScorer
from tests.lm.tiny import CHATML, make_model, make_tokenizer, naive_belief, request

FAMILIES = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "mistral": {"sliding_window": None},
    "gemma": {"head_dim": 8},
    "phi3": {},
    "gpt_neox": {},
    "gpt2": {},
    "cohere": {},
}
WINDOWED = {
    "gemma3_text": {"head_dim": 8, "sliding_window": 16, "layer_types": [SLIDING, "full_attention", SLIDING]},
    "mistral": {"sliding_window": 9},
    "qwen2": {"use_sliding_window": True, "sliding_window": 30, "max_window_layers": 1},
    "phi3": {"sliding_window": 25},
}
REFUSED = {
    "gemma2": ({"head_dim": 8}, "soft-capped"),
    "bloom": ({}, "AttentionInterface"),
    "mamba": ({}, "(sliding-window attention|AttentionInterface)"),  # as its configuration tells, by version
    "stablelm": ({}, "AttentionInterface"),
    "llama": (
        {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
        "changes with the length",
    ),
    "llama4_text": (
        {"layer_types": ["full_attention"] * 3, "no_rope_layers": [0] * 3, "intermediate_size_mlp": 48},
        "a token's place in a row",
    ),
    "phimoe": (
        {"num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 24},
        "does not tell its attention function of its sliding window",
    ),
}
NO_WINDOW = {"sliding_window": 1024}
"""The same weights, with a window that holds every transcript."""
CACHES = {
    "unlimited": {},
    "none": {"cache_bytes": 0},
    "evicting": {"cache_bytes": 60_000},
    "short rows": {"row_tokens": 7},
    "short rows, none": {"cache_bytes": 0, "row_tokens": 50},
}
ALIASES = [
    "Grass",
    "Günter Grass",
    "Günter",
    "G",
    "the novel",
    "the novel of 1959",
    "Grass",
    "x y z",
    "1959",
    "?",
    "a b",
    "éè",
]


def make_scorer(
    family: str = "llama", chat_template: str | None = None, **options: int
) -> TransformersScorer:
    model = make_model(family, **FAMILIES[family])
    return TransformersScorer(model, make_tokenizer(chat_template), **options)


def assert_naive(scorer: TransformersScorer, model: torch.nn.Module, requests: list[BeliefRequest]) -> None:
    assert_beliefs(scorer, requests, [naive_belief(model, scorer.framing, one) for one in requests])


def assert_beliefs(
    scorer: TransformersScorer, requests: list[BeliefRequest], naive: Sequence[Sequence[float]]
) -> None:
    for belief, expected in zip(scorer.score(requests), naive, strict=True):
        assert belief.log_probs == pytest.approx(expected, abs=1e-4)
        assert [math.exp(x) for x in belief.log_probs] == pytest.approx(
            [math.exp(x) for x in expected], abs=1e-5
        )


def ragged(seed: int, turns: int) -> list[BeliefRequest]:
    """Twelve episodes with two prompts, of unequal length, with 1 to 12 answers, two of them alike."""
    draw = random.Random(seed)
    requests = [
        request(
            f"Who wrote it? {number % 2}",
            range(number, number + draw.randint(0, turns)),
            ALIASES[: number + 1],
        )
        for number in range(12)
    ]
    return [*requests, requests[3]]


@pytest.mark.parametrize("family", FAMILIES)
def test_beliefs_equal_a_plain_forward_pass_in_every_family(family: str) -> None:
    scorer = make_scorer(family)
    model = make_model(family, **FAMILIES[family])
    for turns in (1, 3):
        assert_naive(scorer, model, ragged(turns, turns))


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("family", WINDOWED)
def test_beliefs_equal_a_plain_forward_pass_within_and_beyond_a_sliding_window(
    family: str, cache: str
) -> None:
    model = make_model(family, **WINDOWED[family])
    scorer = TransformersScorer(model, make_tokenizer(), **CACHES[cache])
    asked = ragged(2, 2)
    assert max(len(scorer.framing.ids(one.segments)) for one in asked) > 110
    for requests in (asked, ragged(3, 3)):
        assert_naive(scorer, model, requests)
    whole = TransformersScorer(make_model(family, **{**WINDOWED[family], **NO_WINDOW}), make_tokenizer())
    for windowed, other in zip(scorer.score(asked), whole.score(asked), strict=True):
        assert windowed.log_probs != pytest.approx(other.log_probs, abs=1e-3)


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("template", [None, CHATML])
def test_beliefs_equal_a_plain_forward_pass_with_any_cache(cache: str, template: str | None) -> None:
    scorer = make_scorer(chat_template=template, **CACHES[cache])
    for turns in (0, 2, 4):
        assert_beliefs(scorer, ragged(turns, turns), naive_beliefs(template, turns))


@functools.cache
def naive_beliefs(template: str | None, turns: int) -> list[Sequence[float]]:
    """By plain passes, which cost more than all caches together: once for all of these."""
    framing, model = make_scorer(chat_template=template).framing, make_model()
    return [naive_belief(model, framing, one) for one in ragged(turns, turns)]


def test_beliefs_equal_a_plain_forward_pass_without_the_private_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention, "flash_works", lambda: False)
    scorer = make_scorer()
    for turns in (0, 3):
        assert_naive(scorer, make_model(), ragged(turns, turns))


SCORERS = [make_scorer(), make_scorer(cache_bytes=40_000), make_scorer(row_tokens=30)]


@settings(max_examples=25)
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 2), st.lists(st.integers(0, 3), max_size=4)), min_size=1, max_size=4
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(SCORERS),
)
def test_episodes_may_be_asked_in_any_order(
    calls: list[list[tuple[int, list[int]]]], scorer: TransformersScorer
) -> None:
    for call in calls:
        assert_naive(
            scorer, make_model(), [request(f"Q{prompt}", turns, ALIASES[:3]) for prompt, turns in call]
        )


def minimum(scorer: TransformersScorer, calls: list[list[BeliefRequest]]) -> tuple[int, int]:
    """Each distinct transcript prefix once; each distinct request's probe and answer prefixes once a call."""
    prefixes: set[tuple[int, ...]] = set()
    branches = 0
    for call in calls:
        fed = set()
        for one in call:
            context = scorer.framing.ids(one.segments)
            prefixes |= {context[:stop] for stop in range(1, len(context) + 1)}
            probe = scorer.framing.text_ids(one.probe.prefix)
            for answer in map(scorer.framing.text_ids, one.answers):
                ids = probe + answer[:-1]
                fed |= {(context, one.answers, ids[:stop]) for stop in range(1, len(ids) + 1)}
        branches += len(fed)
    return len(prefixes), branches


def group_calls(group: int, turns: int) -> list[list[BeliefRequest]]:
    """A group of rollouts, step by step."""
    return [
        [
            request("Who wrote it?", [100 * member + t for t in range(steps)], ALIASES[:4])
            for member in range(group)
        ]
        for steps in range(turns + 1)
    ]


def test_only_the_minimum_of_tokens_is_forwarded_step_by_step() -> None:
    scorer = make_scorer()
    calls = group_calls(group=5, turns=4)
    for call in calls:
        scorer.score(call)
    stats = scorer.stats
    assert stats.requests == 25
    assert stats.tokens_forwarded == stats.tokens_minimum == sum(minimum(scorer, calls))
    alone = sum(sum(minimum(scorer, [[one]])) for call in calls for one in call)
    assert stats.tokens_reused == alone - stats.tokens_forwarded


def test_a_group_that_comes_at_once_is_forwarded_and_held_without_repetition() -> None:
    scorer = make_scorer()
    call = group_calls(group=5, turns=3)[-1]
    scorer.score([*call, call[0]])
    transcripts, branches = minimum(scorer, [call])
    assert scorer.stats.tokens_forwarded == scorer.stats.tokens_minimum == transcripts + branches
    layers, heads, head_size, float32 = 3, 2, 8, 4
    assert scorer.stats.cache_bytes == transcripts * layers * 2 * heads * head_size * float32


@pytest.mark.parametrize("backwards", [False, True])
def test_whole_trajectories_in_one_call_cost_no_more_than_step_by_step(backwards: bool) -> None:
    scorer = make_scorer()
    calls = group_calls(group=2, turns=4)
    at_once = [one for call in calls for one in call][:: -1 if backwards else 1]
    assert_naive(scorer, make_model(), at_once)
    assert scorer.stats.tokens_forwarded == scorer.stats.tokens_minimum == sum(minimum(scorer, [at_once]))


def test_what_eviction_costs_shows_in_the_stats() -> None:
    scorer = make_scorer(cache_bytes=0)
    calls = group_calls(group=2, turns=2)
    for call in calls:
        scorer.score(call)
    assert scorer.stats.tokens_minimum == sum(minimum(scorer, calls)) < scorer.stats.tokens_forwarded
    assert scorer.stats.cache_bytes == 0


TOKEN_BYTES = 3 * 2 * 2 * 8 * 4
"""Of the tiny model: layers, keys and values, heads, head size, float32."""


@pytest.mark.parametrize("clients", [1, 6])
def test_a_cache_that_holds_a_part_saves_that_part_of_every_call(clients: int) -> None:
    """All ask in turn, so that what was used last is what is asked for last."""
    calls = [[request(f"Q{n}", range(100 * n, 100 * n + t)) for n in range(clients)] for t in range(8)]
    lengths = [minimum(make_scorer(), [call])[0] for call in calls]  # transcripts' tokens, at each call
    branches = sum(minimum(make_scorer(), [call])[1] for call in calls)
    budget = lengths[-1] // 4
    scorer = make_scorer(cache_bytes=budget * TOKEN_BYTES)
    for call in calls:
        scorer.score(call)
    # A buffer may have room for half as much again as it holds; one that is cut has none.
    held = budget if clients == 1 else budget / 1.5
    saved = sum(min(held, length) for length in lengths[:-1])
    assert scorer.stats.tokens_forwarded - branches <= sum(lengths) - saved
    if clients == 1:
        assert scorer.stats.tokens_forwarded - branches == sum(lengths) - saved


def test_the_cache_keeps_its_budget() -> None:
    scorer = make_scorer(cache_bytes=60_000)
    for call in group_calls(group=4, turns=4):
        scorer.score(call)
        assert scorer.stats.cache_bytes <= 60_000


def test_the_model_is_left_as_it_is_and_its_weights_are_shared() -> None:
    model = make_model().train()
    ids = torch.arange(9)[None]
    before, implementation = model(input_ids=ids).logits, model.config._attn_implementation
    scorer = TransformersScorer(model, make_tokenizer())
    scorer.score([request("Who?")])
    assert model.training
    assert model.config._attn_implementation == implementation
    assert torch.equal(model(input_ids=ids).logits, before)
    places = {weight.data_ptr() for weight in scorer.reader.view.parameters()}
    assert {weight.data_ptr() for weight in model.parameters()} == places


def test_new_weights_give_new_beliefs_after_clear() -> None:
    model = make_model()
    scorer = TransformersScorer(model, make_tokenizer())
    ask = request("Who wrote it?", [1, 2])
    (before,) = scorer.score([ask])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    scorer.clear()
    assert scorer.score([ask])[0] != before
    assert_naive(scorer, model, [ask])


def test_an_empty_probe_still_predicts_the_first_token() -> None:
    scorer = make_scorer()
    for turns in ([], [1], [1, 2]):
        assert_naive(scorer, make_model(), [replace(request("Who?", turns), probe=AnswerProbe("", ""))])


def test_sampled_ids_are_scored_as_they_are() -> None:
    scorer = make_scorer()
    ids = (50, 60, 70)
    ask = request("Who?")
    with_ids = replace(ask, segments=(*ask.segments, Segment("agent", "assistant", "whatever", ids)))
    assert scorer.framing.ids(with_ids.segments)[-3:] == ids
    assert_naive(scorer, make_model(), [with_ids])


def test_no_requests_give_no_beliefs() -> None:
    assert make_scorer().score([]) == []


def test_a_transcript_that_is_too_long_is_refused_with_both_lengths() -> None:
    scorer = make_scorer()
    with pytest.raises(ScoringError, match=r"\d+ tokens to read, but LlamaForCausalLM reads at most 1024"):
        scorer.score([request("word " * 2000)])


@pytest.mark.parametrize("answers", [(), ("",), ("fine", "")])
def test_an_answer_without_tokens_is_refused(answers: tuple[str, ...]) -> None:
    with pytest.raises(ScoringError, match="no tokens"):
        make_scorer().score([replace(request("Who?"), answers=answers)])


def test_numbers_that_are_not_finite_are_refused_and_not_remembered() -> None:
    model = make_model()
    scorer = TransformersScorer(model, make_tokenizer())
    weight = model.model.layers[1].mlp.up_proj.weight
    good = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(math.nan)
    with pytest.raises(ScoringError, match="not a finite number"):
        scorer.score([request("Who?")])
    with torch.no_grad():
        weight.copy_(good)
    assert_naive(scorer, model, [request("Who?"), request("Who?", [1])])


@pytest.mark.parametrize("family", REFUSED)
def test_a_model_that_cannot_be_driven_is_refused_by_name(family: str) -> None:
    extra, reason = REFUSED[family]
    model = make_model(family, **extra)
    with pytest.raises(SpecError, match=f"{type(model).__name__} cannot be driven: .*{reason}"):
        TransformersScorer(model, make_tokenizer())


def test_a_model_that_counts_padding_as_no_position_is_seen_through() -> None:
    """Behind a first token that is padding, RoBERTa's positions are those of other models."""
    model = make_model("roberta", is_decoder=True, pad_token_id=0)
    for make in (TransformersScorer, LanguageModelPolicy):
        with pytest.raises(SpecError, match=r"RobertaForCausalLM cannot be a (scorer|policy)"):
            make(model, make_tokenizer())


def test_the_text_part_of_a_model_that_reads_pictures_is_looked_at() -> None:
    rotation = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model(
        "gemma3",
        text_config={
            **shape,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "vocab_size": 400,
            "layer_types": ["full_attention"],
            "rope_parameters": {"full_attention": rotation, "sliding_attention": rotation},
        },
        vision_config={**shape, "image_size": 28, "patch_size": 14},
    )
    with pytest.raises(SpecError, match="changes with the length"):
        TransformersScorer(AutoModelForCausalLM.from_config(config).eval(), make_tokenizer())


class Misplaced(LlamaForCausalLM):
    """Reads every row as if it were one text from the beginning."""

    def forward(self, input_ids=None, position_ids=None, logits_to_keep=0, **options):  # type: ignore[no-untyped-def]
        return super().forward(input_ids=input_ids, logits_to_keep=logits_to_keep, **options)


def test_a_model_whose_numbers_differ_is_refused() -> None:
    with pytest.raises(SpecError, match="Misplaced cannot be a scorer: with a prefix cache it gives"):
        TransformersScorer(Misplaced(make_model().config).eval(), make_tokenizer())


@pytest.mark.parametrize("options", [{"cache_bytes": -1}, {"row_tokens": 0}])
def test_settings_without_meaning_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(SpecError, match="at least"):
        make_scorer(**options)


def test_many_threads_get_their_own_beliefs() -> None:
    scorer = make_scorer(cache_bytes=60_000)
    requests = [request(f"Q{number % 3}", range(number % 5)) for number in range(24)]
    expected = [Belief(naive_belief(make_model(), scorer.framing, one)) for one in requests]
    with ThreadPoolExecutor(4) as pool:
        beliefs = list(pool.map(lambda one: scorer.score([one])[0], requests))
    assert [belief.log_prob for belief in beliefs] == pytest.approx([e.log_prob for e in expected], abs=1e-4)


def test_a_trainers_autocast_changes_no_belief() -> None:
    scorer, asked = make_scorer(), ragged(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert TransformersScorer(make_model(), make_tokenizer()).reader.layout.dtype == torch.float32
        inside = scorer.score(asked[:6])
    plain = naive_beliefs(None, 2)
    assert_beliefs(scorer, asked, plain)
    for belief, expected in zip(inside, plain, strict=False):
        assert belief.log_probs == pytest.approx(expected, abs=1e-4)


def test_half_precision_works() -> None:
    model = make_model().to(torch.bfloat16)
    scorer = TransformersScorer(model, make_tokenizer())
    requests = ragged(1, 2)
    for belief, one in zip(scorer.score(requests), requests, strict=True):
        assert belief.log_probs == pytest.approx(naive_belief(model, scorer.framing, one), abs=0.5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_cache_holds_twice_as_much_and_moves_beliefs_little(dtype: torch.dtype) -> None:
    scorer, half = make_scorer(), make_scorer(cache_dtype=dtype)
    for turns in (1, 3):
        requests = ragged(turns, turns)
        for whole, rounded in zip(scorer.score(requests), half.score(requests), strict=True):
            assert rounded.prob == pytest.approx(whole.prob, abs=1e-3)
    assert half.stats.cache_bytes * 2 == scorer.stats.cache_bytes
    assert half.stats.tokens_forwarded == scorer.stats.tokens_forwarded


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_cache_gives_the_same_belief_whatever_was_asked_before(dtype: torch.dtype) -> None:
    asked = [request("Who?", range(turns)) for turns in range(5)]
    at_once, later, behind = (make_scorer(cache_dtype=dtype) for _ in range(3))
    for one in asked:
        (expected,) = later.score([one])
    assert at_once.score(asked[-1:])[0].log_probs == pytest.approx(expected.log_probs, abs=2e-4)
    assert behind.score(asked)[-1].log_probs == pytest.approx(expected.log_probs, abs=2e-4)


@pytest.mark.slow
def test_a_compiled_scorer_gives_the_same_beliefs_and_leaves_the_model_as_it_is() -> None:
    model = make_model()
    scorer = TransformersScorer(model, make_tokenizer(), compile=True)
    for turns in (0, 3):
        assert_naive(scorer, model, ragged(turns, turns))
    assert all(module._compiled_call_impl is None for module in model.modules())


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["unlimited", "evicting"])
def test_beliefs_of_a_real_model_equal_a_plain_forward_pass(smollm2: Path, cache: str) -> None:
    from igpo_gym.lm.loading import load_model

    model, tokenizer = load_model(smollm2, device="cpu")
    budget = {"unlimited": {}, "evicting": {"cache_bytes": 10_000_000, "row_tokens": 300}}[cache]
    scorer = TransformersScorer(model, tokenizer, **budget)
    for turns in (0, 2):
        requests = ragged(turns, turns)[::3]
        for belief, one in zip(scorer.score(requests), requests, strict=True):
            expected = naive_belief(model, scorer.framing, one)
            for got, want in zip(belief.log_probs, expected, strict=True):
                assert abs(math.exp(got) - math.exp(want)) < 1e-5


@pytest.mark.slow
def test_a_real_model_believes_what_it_reads(smollm2: Path) -> None:
    scorer = TransformersScorer.load(smollm2, device="cpu")
    before = TAGS.prompt(Question("q", "Who wrote The Tin Drum?", ("Günter Grass",)))
    search = Segment("agent", "assistant", "<search>The Tin Drum</search>")
    segments = [*before, search, *TAGS.reply("The Tin Drum is a novel by Günter Grass.")]
    beliefs = scorer.score(
        [BeliefRequest(tuple(segments[:stop]), ("Günter Grass",), TAGS.probe) for stop in (len(before), None)]
    )
    assert all(later.prob > sooner.prob + 0.1 for sooner, later in pairwise(beliefs))
