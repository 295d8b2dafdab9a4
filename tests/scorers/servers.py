"""Routes of a server that scores with a model, in any dialect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tests.site import Refusal, Route

VLLM_TOO_LONG = (
    "This model's maximum context length is {longest} tokens. However, your prompt contains {length} input "
    "tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input "
    "prompt."
)
SGLANG_TOO_LONG = "The input ({length} tokens) is longer than the model's context length ({longest} tokens)."
OPENAI_TOO_LONG = (
    "This model's maximum context length is {longest} tokens, however you requested {length} tokens. Please "
    "reduce your prompt; or completion length."
)
"""What these servers answer with status 400."""


@dataclass(frozen=True)
class Engine:
    """A model behind the wire formats of the servers that are known, as these were recorded."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: str
    """What the server says the model was loaded from."""
    longest: int | None = None
    """Its max_model_len: how many tokens it reads and generates; None is no limit."""
    tells: bool = True
    """Whether its list of models has the limit."""

    @torch.no_grad()
    def _log_probs(self, ids: Sequence[int]) -> torch.Tensor:
        """[tokens, vocabulary]: row i is the distribution after token i."""
        if not ids or not all(0 <= token < self.model.config.vocab_size for token in ids):
            raise Refusal(400, {"error": {"message": "token id out of vocabulary"}})
        return self.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double().log_softmax(-1)

    def vllm(self) -> dict[str, Route]:
        """As vLLM's OpenAI-compatible server (it also echoes)."""
        return {"/v1/models": lambda _: self._models("vllm"), "/v1/completions": self._completions}

    def sglang(self) -> dict[str, Route]:
        """As SGLang's server, its native interface."""
        return {
            "/v1/models": lambda _: self._models("sglang"),
            "/get_model_info": lambda _: {
                "model_path": self.source,
                "tokenizer_path": self.source,
                "is_generation": True,
            },
            "/generate": self._generate,
        }

    def echo(self, shift: int = 0, echoes: bool = True) -> dict[str, Route]:
        """As a server that knows OpenAI's ``echo`` alone; llama-cpp-python's has ``shift`` 1."""
        return {
            "/v1/models": lambda _: self._models("someone"),
            "/v1/completions": lambda body: self._echo(body, shift, echoes),
        }

    def _models(self, owner: str) -> Any:
        card = {"id": "tiny", "object": "model", "owned_by": owner, "root": self.source}
        if self.tells and self.longest is not None:
            card["max_model_len"] = self.longest
        return {"object": "list", "data": [card]}

    def _check_lengths(self, prompts: Sequence[Sequence[int]], words: str) -> None:
        """Refuse a prompt behind which nothing can be generated."""
        for length in map(len, prompts):
            if self.longest is not None and length >= self.longest:
                message = words.format(length=length, longest=self.longest)
                raise Refusal(400, {"error": {"message": message, "type": "BadRequestError", "code": 400}})

    def _completions(self, body: Any) -> Any:
        if body["model"] != "tiny":
            raise Refusal(404, {"error": {"message": f"The model `{body['model']}` does not exist."}})
        if body.get("echo"):
            return self._echo(body, 0, True)
        self._check_lengths(body["prompt"], VLLM_TOO_LONG)
        choices = []
        for index, ids in enumerate(body["prompt"]):
            table = None
            if body.get("prompt_logprobs") is not None:
                rows = self._log_probs(ids)
                table = [None] + [
                    {
                        str(token): {
                            "logprob": rows[place, token].item(),
                            "rank": int((rows[place] > rows[place, token]).sum()) + 1,
                            "decoded_token": self.tokenizer.decode([token]),
                        }
                    }
                    for place, token in enumerate(ids[1:])
                ]
            choices.append({"index": index, "text": "x", "logprobs": None, "prompt_logprobs": table})
        return {"object": "text_completion", "model": "tiny", "choices": choices}

    def _generate(self, body: Any) -> Any:
        self._check_lengths(body["input_ids"], SGLANG_TOO_LONG)
        answers = []
        for ids, start in zip(body["input_ids"], body["logprob_start_len"], strict=True):
            rows = self._log_probs(ids)
            triples = [
                [
                    None if place == start else rows[place - 1, ids[place]].item(),
                    ids[place],
                    self.tokenizer.decode([ids[place]]) if body.get("return_text_in_logprobs") else None,
                ]
                for place in range(start, len(ids))
            ]
            meta = {"prompt_tokens": len(ids), "completion_tokens": 0, "input_token_logprobs": triples}
            answers.append({"text": "", "meta_info": meta})
        return answers

    def _echo(self, body: Any, shift: int, echoes: bool) -> Any:
        self._check_lengths(body["prompt"], OPENAI_TOO_LONG)
        choices = []
        for index, ids in enumerate(body["prompt"]):
            rows = self._log_probs(ids)
            generated = int(rows[-1].argmax())
            places = [place for place in range(len(ids) + 1) if echoes or place == len(ids)]
            tokens = [*ids, generated]
            behind = [rows[min(max(place - 1 + shift, 0), len(ids) - 1)] for place in places]
            table = {
                "tokens": [self.tokenizer.decode([tokens[place]]) for place in places],
                "token_logprobs": [
                    row[tokens[place]].item() if place else None
                    for place, row in zip(places, behind, strict=True)
                ],
                "top_logprobs": [
                    {self.tokenizer.decode([int(row.argmax())]): row.max().item()} if place else None
                    for place, row in zip(places, behind, strict=True)
                ],
                "text_offset": [0 for _ in places],
            }
            choices.append({"index": index, "text": "x", "logprobs": table})
        total = sum(map(len, body["prompt"]))
        # The order of the choices is nowhere promised.
        return {
            "choices": choices[::-1],
            "usage": {"prompt_tokens": total, "completion_tokens": len(choices)},
        }
