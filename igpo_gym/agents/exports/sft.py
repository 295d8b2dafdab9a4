"""``sft``: an episode a line, as messages and, with a tokenizer, as token ids with labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from igpo_gym.agents.exports.rows import (
    NO_TURN,
    Format,
    Row,
    Written,
    named,
    refuse_left_out,
    refuse_shared_messages,
    write_jsonl,
)
from igpo_gym.agents.exports.selection import Chosen
from igpo_gym.agents.exports.tokens import Tokens
from igpo_gym.errors import SpecError

_INSTEAD = "give --tokenizer MODEL, the model that is trained, for token ids with labels"


def _rows(chosen: Iterable[Chosen], tokens: Tokens | None) -> Iterator[Row]:
    for each in chosen:
        if not any(each.kept):
            continue
        messages = {**named(each), "messages": each.episode.messages()}
        yield messages | (_weights(each) if tokens is None else tokens.row(each))


def _weights(chosen: Chosen) -> Row:
    """A weight for each message: the advantage of the assistant's, 0 of the others."""
    refuse_shared_messages(chosen, "messages", _INSTEAD)
    refuse_left_out(chosen, "who trains on messages", _INSTEAD)
    if chosen.advantages is None:
        return {}
    own = [message["role"] == "assistant" for message in chosen.episode.messages()]
    if sum(own) != len(chosen.advantages):  # two turns without a reply between them are one message
        raise SpecError(
            f"{chosen.place}: {len(chosen.advantages)} turns stand in {sum(own)} messages of the assistant, "
            f"so a message has no advantage of its own: {_INSTEAD}"
        )
    advantages = iter(chosen.advantages)
    return {"weights": [next(advantages) if each else 0.0 for each in own]}


def write(chosen: Iterable[Chosen], out: Path, tokens: Tokens | None) -> Written:
    """Write ``messages``, with ``weights`` for each; with ``tokens`` also ``input_ids`` and ``labels``, and
    weights for each token."""
    return Written(write_jsonl(_rows(chosen, tokens), out, NO_TURN))


SFT = Format(write, "episodes", tokenizer=True)
