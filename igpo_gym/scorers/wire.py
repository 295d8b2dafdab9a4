"""How servers are asked for the log-probabilities of a prompt's tokens, and how their answers are read.

A dialect is data: a path, and pure functions between prompts and JSON. Prompts are token ids, for text that a
server tokenizes again may become other tokens.

Nothing in an answer is believed: that there is one entry for each token, that it is about this token, and
that it is a log-probability is checked, and a ValueError says what was wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from igpo_gym.numbers import FLOOR, ROUNDING
from igpo_gym.scorers.prompts import Prompt

TOO_LONG = re.compile(
    r"(?:maximum context length|maximum model length"  # vLLM, and most that follow OpenAI
    r"|model's context length|maximum allowed length"  # SGLang: the model's, and what its cache holds
    r"|available context size)(?:\D{0,9}(\d+))?"  # llama.cpp
    r"|max_tokens must be at least 1, got 0"  # vLLM, of a prompt as long as what it reads
    r"|context_length_exceeded"  # OpenAI's code
)
"""How servers say that a prompt is longer than their model reads, and how much it reads where they tell."""


class TokenScore(NamedTuple):
    """What a server says about one token, given those before it."""

    log_prob: float
    """In nats."""
    text: str | None = None
    """The token in the server's words, where it tells."""
    likeliest: float | None = None
    """The log-probability of the likeliest token at this place, where it tells."""


Scores = list[TokenScore]


@dataclass(frozen=True, slots=True)
class ScoringDialect:
    """One way to ask, with the functions that write and read it."""

    name: str
    path: str
    """Where the question is posted, below the server's root."""
    ask: Callable[[str, Sequence[Prompt]], dict[str, Any]]
    """The body of the question, from the model's name and the prompts."""
    split: Callable[[Any, Sequence[Prompt]], list[Any]]
    """The answer's parts, one for each prompt."""
    score: Callable[[Any, Prompt], Scores]
    """A prompt's scores from its part of the answer."""

    def read(self, answer: Any, prompts: Sequence[Prompt]) -> list[Scores]:
        """From the JSON that answers ``prompts``, for each of them the scores of the tokens asked about.

        Raises ValueError for an answer that is not what it should be.
        """
        try:
            parts = self.split(answer, prompts)
            return [self.score(part, prompt) for part, prompt in zip(parts, prompts, strict=True)]
        except (LookupError, TypeError, AttributeError) as problem:
            kind = type(problem).__name__
            raise ValueError(f"its answer has not the form of {self.name!r} ({kind}: {problem})") from problem


def _ask_vllm(model: str, prompts: Sequence[Prompt]) -> dict[str, Any]:
    return {
        "model": model,
        "prompt": [list(prompt.ids) for prompt in prompts],
        "max_tokens": 1,
        "temperature": 0,
        "prompt_logprobs": 0,  # of the prompt's own tokens alone
        "add_special_tokens": False,
    }


def _score_vllm(choice: Any, prompt: Prompt) -> Scores:
    """``prompt_logprobs`` has a table for each token of the prompt, whose keys are token ids as strings."""
    tables = choice["prompt_logprobs"]
    if tables is None:
        raise ValueError("it gives no prompt_logprobs")
    _expect(len(tables), len(prompt.ids), "tokens")
    entries = [table[str(token)] for table, token in _about(prompt, tables, prompt.ids)]
    return [TokenScore(_log_prob(entry["logprob"]), entry.get("decoded_token")) for entry in entries]


def _ask_sglang(model: str, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """SGLang's native interface; it serves one model, which is not named.

    The entry at the start has no log-probability, so the start is one token early. What stands before it is
    not asked about, which lets SGLang take it from its prefix cache.
    """
    return {
        "input_ids": [list(prompt.ids) for prompt in prompts],
        "sampling_params": {"max_new_tokens": 0, "temperature": 0},
        "return_logprob": True,
        "logprob_start_len": [len(prompt.ids) - prompt.scored - 1 for prompt in prompts],
        "return_text_in_logprobs": True,
    }


def _split_sglang(answer: Any, prompts: Sequence[Prompt]) -> list[Any]:
    if not isinstance(answer, list):
        raise TypeError("it is not a list")
    _expect(len(answer), len(prompts), "prompts")
    return answer


def _score_sglang(part: Any, prompt: Prompt) -> Scores:
    """``input_token_logprobs`` has (log-probability, token id, text) for each token from the start on."""
    meta = part["meta_info"]
    _expect(meta["prompt_tokens"], len(prompt.ids), "tokens")
    triples = meta["input_token_logprobs"]
    _expect(len(triples), prompt.scored + 1, "tokens asked about")
    scores = []
    for (log_prob, token, text), sent in _about(prompt, triples, prompt.ids):
        if token != sent:
            raise ValueError(f"it scored the token {token} where {sent} was sent")
        scores.append(TokenScore(_log_prob(log_prob), text))
    return scores


def _ask_echo(model: str, prompts: Sequence[Prompt]) -> dict[str, Any]:
    return {
        "model": model,
        "prompt": [list(prompt.ids) for prompt in prompts],
        "max_tokens": 1,  # some servers refuse to generate none
        "temperature": 0,
        "echo": True,
        "logprobs": 1,
    }


def _split_echo(answer: Any, prompts: Sequence[Prompt]) -> list[Any]:
    """Token ids are not told, so the server has to say how many it has read: it may have added some."""
    _expect(answer["usage"]["prompt_tokens"], sum(len(prompt.ids) for prompt in prompts), "tokens")
    return _choices(answer, prompts)


def _score_echo(choice: Any, prompt: Prompt) -> Scores:
    """``logprobs`` has parallel lists over the prompt's tokens and the generated one, which is missing where
    it is one that ends the text.
    """
    table = choice["logprobs"]
    if table is None:
        raise ValueError("it gives no logprobs")
    columns = table["token_logprobs"], table["tokens"], table["top_logprobs"]
    length = len(prompt.ids)
    for column in columns:
        if len(column) <= 1:
            raise ValueError("it ignores echo, as llama.cpp's server does")
        _expect(len(column) - (len(column) == length + 1), length, "tokens")
    return [
        TokenScore(_log_prob(log_prob), text, max(map(_log_prob, likeliest.values())))
        for log_prob, text, likeliest in _about(prompt, *(column[:length] for column in columns))
    ]


def _choices(answer: Any, prompts: Sequence[Prompt]) -> list[Any]:
    """The parts of an answer in the form of OpenAI's, which are numbered and may come in any order."""
    choices = sorted(answer["choices"], key=lambda choice: choice["index"])
    _expect(len(choices), len(prompts), "prompts")
    if [choice["index"] for choice in choices] != list(range(len(prompts))):
        raise ValueError("it numbers its answers wrongly")
    return choices


def _about(prompt: Prompt, *columns: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Rows of what the columns have at their ends, for the tokens that are asked about."""
    return zip(*(column[-prompt.scored :] for column in columns), strict=True)


def _expect(count: object, expected: int, what: str) -> None:
    if count != expected:
        raise ValueError(f"it answers for {count} {what} where {expected} were sent")


def _log_prob(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{value!r} is not a log-probability")
    if not FLOOR < value <= ROUNDING:  # false for NaN, too
        raise ValueError(f"{value!r} is not the logarithm of a probability above 0")
    return min(float(value), 0.0)


DIALECTS = {
    dialect.name: dialect
    for dialect in (
        ScoringDialect("sglang", "/generate", _ask_sglang, _split_sglang, _score_sglang),
        ScoringDialect("vllm", "/v1/completions", _ask_vllm, _choices, _score_vllm),
        ScoringDialect("openai", "/v1/completions", _ask_echo, _split_echo, _score_echo),
    )
}
"""In the order in which a server of unknown kind is tried, the most specific one first."""
