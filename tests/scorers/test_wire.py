"""The dialects against answers whose numbers are known; what a real server does is in test_remote."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igpo_gym.numbers import FLOOR
from igpo_gym.scorers.prompts import Prompt
from igpo_gym.scorers.wire import DIALECTS


@st.composite
def prompts(draw: st.DrawFn) -> Prompt:
    ids = draw(st.lists(st.integers(0, 50_000), min_size=2, max_size=12))
    return Prompt(tuple(ids), draw(st.integers(1, len(ids) - 1)))


def number(prompt: Prompt, place: int) -> float:
    """The log-probability of a token in these tests: any function of all that it may depend on."""
    return -random.Random(repr((prompt.ids[: place + 1],))).uniform(0, 20)


def vllm_choice(prompt: Prompt) -> dict[str, Any]:
    entries = [
        {str(token): {"logprob": number(prompt, place), "rank": 1, "decoded_token": f"t{token}"}}
        for place, token in enumerate(prompt.ids)
    ]
    return {"prompt_logprobs": [None, *entries[1:]]}


def sglang_part(prompt: Prompt, start: int) -> dict[str, Any]:
    triples = [[number(prompt, place), prompt.ids[place], None] for place in range(start, len(prompt.ids))]
    triples[0][0] = None
    return {"meta_info": {"prompt_tokens": len(prompt.ids), "input_token_logprobs": triples}}


def echo_choice(prompt: Prompt, generates: bool) -> dict[str, Any]:
    numbers = [number(prompt, place) for place in range(len(prompt.ids))] + [-1.0] * generates
    table = {
        "token_logprobs": [None, *numbers[1:]],
        "tokens": ["t"] * len(numbers),
        "top_logprobs": [None, *({"a": value, "b": value / 2} for value in numbers[1:])],
    }
    return {"logprobs": table}


def answer(kind: str, asked: list[Prompt], body: dict[str, Any], generates: bool) -> Any:
    if kind == "sglang":
        return [
            sglang_part(prompt, start) for prompt, start in zip(asked, body["logprob_start_len"], strict=True)
        ]
    parts = [vllm_choice(prompt) if kind == "vllm" else echo_choice(prompt, generates) for prompt in asked]
    choices = [{"index": index} | part for index, part in enumerate(parts)]
    return {"choices": choices[::-1], "usage": {"prompt_tokens": sum(len(each.ids) for each in asked)}}


@pytest.mark.parametrize("kind", DIALECTS)
@given(asked=st.lists(prompts(), min_size=1, max_size=3), generates=st.booleans())
def test_the_log_probabilities_of_the_last_tokens_are_read(
    kind: str, asked: list[Prompt], generates: bool
) -> None:
    dialect = DIALECTS[kind]
    body = dialect.ask("model", asked)
    assert body.get("prompt", body.get("input_ids")) == [list(prompt.ids) for prompt in asked]
    for prompt, scores in zip(asked, dialect.read(answer(kind, asked, body, generates), asked), strict=True):
        places = range(len(prompt.ids) - prompt.scored, len(prompt.ids))
        assert [score.log_prob for score in scores] == [number(prompt, place) for place in places]
        if kind == "openai":
            assert [score.likeliest for score in scores] == [number(prompt, place) / 2 for place in places]


@pytest.mark.parametrize(
    "value", [None, "-1", True, [], float("nan"), float("-inf"), FLOOR, 0.5, float("inf")]
)
@pytest.mark.parametrize("kind", DIALECTS)
def test_what_is_no_log_probability_is_refused(kind: str, value: object) -> None:
    prompt = Prompt((3, 4, 5), 2)
    dialect = DIALECTS[kind]
    spoiled = answer(kind, [prompt], dialect.ask("model", [prompt]), True)
    if kind == "sglang":
        spoiled[0]["meta_info"]["input_token_logprobs"][-1][0] = value
    elif kind == "vllm":
        spoiled["choices"][0]["prompt_logprobs"][-1]["5"]["logprob"] = value
    else:
        spoiled["choices"][0]["logprobs"]["token_logprobs"][2] = value
    with pytest.raises(ValueError, match="is not"):
        dialect.read(spoiled, [prompt])


@pytest.mark.parametrize("kind", DIALECTS)
def test_a_probability_of_one_that_is_rounded_up_is_one(kind: str) -> None:
    prompt = Prompt((3, 4), 1)
    answers = {
        "sglang": [
            {"meta_info": {"prompt_tokens": 2, "input_token_logprobs": [[None, 3, ""], [1e-7, 4, ""]]}}
        ],
        "vllm": {"choices": [{"index": 0, "prompt_logprobs": [None, {"4": {"logprob": 1e-7}}]}]},
        "openai": {
            "usage": {"prompt_tokens": 2},
            "choices": [
                {
                    "index": 0,
                    "logprobs": {
                        "token_logprobs": [None, 1e-7],
                        "tokens": ["a", "b"],
                        "top_logprobs": [None, {"b": 1e-7}],
                    },
                }
            ],
        },
    }
    assert DIALECTS[kind].read(answers[kind], [prompt])[0][0].log_prob == 0.0


KEYS = ["choices", "index", "usage", "prompt_tokens", "logprobs", "token_logprobs", "tokens", "top_logprobs"]
KEYS += ["prompt_logprobs", "meta_info", "input_token_logprobs"]
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("kind", DIALECTS)
@settings(max_examples=50)
@given(junk=JUNK)
def test_any_other_json_is_refused(kind: str, junk: Any) -> None:
    with pytest.raises(ValueError, match=r"form of|where|gives no|numbers|is not"):
        DIALECTS[kind].read(junk, [Prompt((3, 4, 5), 2)])
