"""verl's inference client as the policy's scorer sees it: answers in verl's own shapes, numbers by hand."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from verl.workers.rollout.replica import TokenOutput

from tests.adapters.scripted import ScriptedServer


def log_prob(ids: Sequence[int], place: int, version: int = 0) -> float:
    """What the weights of a version say about the token at a place: any number that depends on both."""
    return -(1 + ids[place] % 7 + 3 * (ids[place - 1] % 5) + version) / 10


def verls(file: str, name: str) -> Callable[..., None]:
    """A function of verl's, from its source: the module around it needs the inference engine itself."""
    found = importlib.util.find_spec("verl")
    assert found is not None
    assert found.submodule_search_locations
    source = Path(found.submodule_search_locations[0], "workers", "rollout", file).read_text()
    (node,) = (each for each in ast.parse(source).body if getattr(each, "name", "") == name)
    scope: dict[str, Any] = {"Optional": Any, "RequestOutput": Any}
    exec(compile(ast.Module([node], []), file, "exec"), scope)
    made: Callable[..., None] = scope[name]
    return made


def vllm_fields(ids: Sequence[int], version: int = 0) -> dict[str, Any]:
    """What verl makes of vLLM's answer: a table for each token of the prompt, None for the first."""
    tables: list[Any] = [None]
    tables += [
        {ids[place]: SimpleNamespace(logprob=log_prob(ids, place, version), rank=9)}
        for place in range(1, len(ids))
    ]
    fields: dict[str, Any] = {}
    extract = verls("vllm_rollout/utils.py", "extract_prompt_logprobs")
    extract(SimpleNamespace(prompt_logprobs=tables), 0, fields)
    return fields


def sglang_fields(ids: Sequence[int], version: int = 0) -> dict[str, Any]:
    """What verl makes of SGLang's answer: (log-probability, id, text) for each token, the first without."""
    triples = [(None, ids[0], None)]
    triples += [(log_prob(ids, place, version), ids[place], None) for place in range(1, len(ids))]
    fields: dict[str, Any] = {}
    extract = verls("sglang_rollout/async_sglang_server.py", "_extract_prompt_logprobs_sglang")
    extract({"input_token_logprobs": triples}, 0, len(ids), fields)
    return fields


class TellingServer(ScriptedServer):
    """A scripted server that also tells a prompt's log-probabilities; the version of its weights can change.

    ``aborts`` requests about prompts are aborted first, and ``versions`` are those of the next such requests.
    """

    def __init__(
        self, script: Sequence[str] = (), shape: Callable[..., dict[str, Any]] = vllm_fields
    ) -> None:
        super().__init__(script)
        self.shape = shape
        self.version = 0
        self.versions: list[int] = []
        self.aborts = 0
        self.about: list[tuple[str, tuple[int, ...]]] = []
        """The request's id and the prompt of each request about a prompt."""
        self.about_params: list[dict[str, Any]] = []

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any]
    ) -> Any:
        if "prompt_logprobs" not in sampling_params:
            output = await super().generate(
                request_id, prompt_ids=prompt_ids, sampling_params=sampling_params
            )
            output.extra_fields.update(min_global_steps=self.version, max_global_steps=self.version)
            return output
        self.about.append((request_id, tuple(prompt_ids)))
        self.about_params.append(dict(sampling_params))
        if self.versions:
            self.version = self.versions.pop(0)
        fields = {"global_steps": self.version}
        if self.aborts:
            self.aborts -= 1
            return TokenOutput(token_ids=[], stop_reason="aborted", extra_fields=fields)
        fields |= self.shape(prompt_ids, self.version)
        return TokenOutput(token_ids=[1], stop_reason="completed", extra_fields=fields)
