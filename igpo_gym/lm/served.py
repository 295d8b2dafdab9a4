"""What a server tells about the model that it runs, and where that model's tokenizer is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from igpo_gym.errors import SpecError, choose
from igpo_gym.transport import RETRIED, Server, ServerError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from igpo_gym.lm.framing import Framing


@dataclass(frozen=True, slots=True)
class Served:
    """A model at a server."""

    name: str
    sources: tuple[str, ...]
    """Under which names its tokenizer may be found, the likeliest first."""
    longest: int | None
    """How many tokens it reads, if the server tells."""
    engine: str = ""
    """What runs it, such as "vllm", if the server tells."""


def served_model(server: Server, model: str | None) -> Served:
    """The model at ``server``, or the one of that name where there are several.

    Raises SpecError where it has to be named, or is not there, and ServerError if the server fails.
    """
    listed = told(server, "/v1/models").get("data")
    listed = [card for card in listed if isinstance(card, dict)] if isinstance(listed, list) else []
    cards: Mapping[str, Mapping[str, Any]] = {str(card.get("id")): card for card in listed}
    if model is None and len(cards) != 1:
        if cards:
            raise SpecError(f"{server.url} serves {', '.join(cards)}; give model=")
        raise SpecError(
            f"{server.url} does not tell which model it serves; give model= if it is a model server. It does "
            f"not look like one: there is no list of models at {server.url}/v1/models"
        )
    name = model or next(iter(cards))
    card = choose(cards, name, f"model at {server.url}") if cards else {}
    base = cards.get(str(card.get("parent")), {})  # what vLLM serves an adapter on
    info = told(server, "/get_model_info")  # SGLang's
    sources = [info.get("tokenizer_path"), info.get("model_path"), card.get("root"), base.get("root"), name]
    longest = card.get("max_model_len") or base.get("max_model_len")
    return Served(
        name,
        tuple(source for source in dict.fromkeys(sources) if isinstance(source, str)),
        longest if isinstance(longest, int) else None,
        "sglang" if info else str(card.get("owned_by", "")).lower(),
    )


def told(server: Server, path: str) -> dict[str, Any]:
    """The JSON object at ``path``, empty if the server has none there.

    Raises SpecError where a key is missing or wrong, and ServerError if the server fails.
    """
    try:
        answer = server.get(path)
    except ServerError as problem:
        if problem.status in (401, 403):
            raise SpecError(str(problem)) from None
        if problem.status is None or problem.status in RETRIED:
            raise
        return {}
    return answer if isinstance(answer, dict) else {}


TEXT = "The quick brown fox jumps over the lazy dog by the river bank"
"""What servers are asked to read, to find out whether their tokenizer is the one that is used here."""

_DETOKENIZED = ("prompt", "text", "content")
"""Where vLLM, SGLang and llama.cpp write the text of token ids."""


def check_tokenizer(server: Server, model: str, framing: Framing) -> None:
    """Raise SpecError where the server reads other words in the ids of a text than its tokenizer here.

    A server that does not tell what it reads is trusted. Raises ServerError if it cannot be reached.
    """
    ids = framing.text_ids(TEXT)
    meant = framing.text(ids)
    try:
        answer = server.post("/detokenize", {"model": model, "tokens": list(ids)})
    except ServerError as problem:
        if problem.status is None:
            raise
        return
    read = [answer[key] for key in _DETOKENIZED if key in answer] if isinstance(answer, dict) else []
    if read and isinstance(read[0], str) and letters(read[0]) != letters(meant):
        raise SpecError(
            f"the model at {server.url} has another tokenizer than {framing.name!r}: it reads "
            f"{read[0]!r:.80} where {meant!r} was sent; give the model's own as tokenizer=, or as "
            f"{server.url}#tokenizer=NAME"
        )


def letters(text: str) -> str:
    """The letters and digits alone: servers differ in how they show spaces.

    >>> letters("ĠTheĠfox, 2"), letters(" The fox,  2")
    ('Thefox2', 'Thefox2')
    """
    return "".join(filter(str.isalnum, text.encode("ascii", "ignore").decode()))


def served_tokenizer(
    server: Server, served: Served, tokenizer: PreTrainedTokenizerBase | str | Path | None
) -> PreTrainedTokenizerBase:
    """``tokenizer``, or what it names, or else what the server names. Raises SpecError if none loads."""
    if tokenizer is not None and not isinstance(tokenizer, (str, Path)):
        return tokenizer
    from igpo_gym.lm.loading import load_tokenizer  # which imports torch

    problems = []
    for source in [tokenizer] if tokenizer else served.sources:
        try:
            return load_tokenizer(source)
        except SpecError as problem:
            problems.append(str(problem))
    raise SpecError(
        f"no tokenizer for {served.name!r} at {server.url}: {'; '.join(problems)}. Give its name on "
        f"the hub or a local folder as tokenizer=, or as {server.url}#tokenizer=NAME"
    )
