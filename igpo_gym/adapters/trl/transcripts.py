"""Conversations that TRL's tool loop held, read as turns: ids and thoughts as they stand.

TRL hands an environment the calls alone, one by one. What the model wrote beside them, and which calls stood
in one message, is in the conversation: its messages, its token ids, and the mask of what the model wrote.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeAlias

from igpo_gym.envs.engine import Engine, Move
from igpo_gym.episode import Answer, EndReason, Episode, Invalid, Segment, ToolCalls, Turn
from igpo_gym.lm.framing import Framing, Ids
from igpo_gym.lm.templates import continues, thought_in
from igpo_gym.protocols.grammar import THINK, THOUGHT

Message: TypeAlias = Mapping[str, Any]

OPENED = re.compile(rf"{THINK}\s*({THOUGHT}\s*)?")
"""The thought with which a chat template opens the agent's message."""
LONGEST_THOUGHT = 20
"""In tokens, where a vocabulary spells the tags in pieces."""


class Verbatim(Framing):
    """The framing of a tokenizer, but for transcripts of which every piece has its ids: those as they stand.

    What another party's chat template wrote (tools' schemas in the prompt, a tool's reply) carries ids of the
    vocabulary :attr:`written`, which include all control tokens around it.
    """

    @property
    def written(self) -> str:
        """The vocabulary of pieces whose ids include the control tokens around them."""
        return f"{self.vocabulary} with control tokens"

    def ids(self, segments: Sequence[Segment], text: str | None = None) -> Ids:
        """The transcript's token ids, up to where the agent writes next. ``text`` is as in Framing."""
        known = (self.vocabulary, self.written)
        if not segments or segments[0].vocabulary != self.written:
            return super().ids(segments, text)
        if any(segment.ids is None or segment.vocabulary not in known for segment in segments):
            return super().ids(segments, text)
        ids = tuple(number for segment in segments for number in segment.ids or ())
        if text is None or segments[-1].role == "assistant":
            return ids
        thought = self._thought(ids)
        return ids[: len(ids) - len(thought)] if not continues(thought_in(self.text(thought)), text) else ids

    def _thought(self, ids: Ids) -> Ids:
        """The thought at the end of ``ids``, open or closed and empty, that opens the agent's message."""
        ends = (ids[-count:] for count in range(1, 1 + min(len(ids), LONGEST_THOUGHT)))
        return next((end for end in ends if OPENED.fullmatch(self.text(end))), ())


@dataclass(frozen=True, slots=True)
class Conversation:
    """What TRL's tool loop made of a prompt."""

    prompt_ids: Sequence[int]
    completion_ids: Sequence[int]
    mask: Sequence[int]
    """1 where the model wrote, 0 on the tools' replies."""
    messages: Sequence[Message]
    """The completion: the model's messages, each followed by its tools' replies."""
    log_probs: Sequence[float] | None = None
    """As the engine that sampled tells them."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A message of the model and what its tools replied, as places in the completion."""

    said: Message
    replies: tuple[str, ...]
    start: int
    stop: int
    """The message's tokens."""
    next: int
    """Where the next message begins."""

    @property
    def calls(self) -> list[Mapping[str, Any]]:
        """The functions that it calls, in order."""
        return [call.get("function", {}) for call in self.said.get("tool_calls") or ()]


def exchanges(talk: Conversation) -> list[Exchange]:
    """The model's messages, in order.

    Raises ValueError where messages and the mask do not tell of the same number of messages.

    >>> said = {"role": "assistant", "content": "Danzig."}
    >>> exchanges(Conversation([1], [5, 6, 2], [1, 1, 1], [said]))[0].stop
    3
    """
    runs = list(_runs(talk.mask))
    places = [place for place, message in enumerate(talk.messages) if message["role"] == "assistant"]
    if len(runs) != len(places):
        raise ValueError(
            f"a conversation of {len(places)} messages has {len(runs)} stretches of tokens of the model's"
        )
    ends = [*places[1:], len(talk.messages)]
    starts = [start for start, _ in runs]
    nexts = [*starts[1:], len(talk.completion_ids)]
    return [
        Exchange(
            talk.messages[place],
            tuple(str(message["content"]) for message in talk.messages[place + 1 : end]),
            *run,
            after,
        )
        for place, end, run, after in zip(places, ends, runs, nexts, strict=True)
    ]


def _runs(mask: Sequence[int]) -> Iterator[tuple[int, int]]:
    place = 0
    for own, run in groupby(mask):
        start, place = place, place + len(list(run))
        if own:
            yield start, place


def with_prompt_ids(prompt: Sequence[Segment], ids: Sequence[int], framing: Verbatim) -> tuple[Segment, ...]:
    """The prompt's segments with the ids that TRL rendered: all on the first, for the template renders the
    messages and the tools' schemas as one."""
    owned = [tuple(ids), *[()] * (len(prompt) - 1)]
    return tuple(
        Segment(segment.author, segment.role, segment.text, own, vocabulary=framing.written)
        for segment, own in zip(prompt, owned, strict=True)
    )


def moves(
    episode: Episode,
    talk: Conversation,
    plays: Sequence[Move],
    names: Collection[str],
    engine: Engine,
    framing: Verbatim,
    weights: str = "",
) -> tuple[list[Move], int]:
    """The turns of ``episode`` in the conversation, and how many tokens of the completion they take.

    ``plays`` are the calls of the tools called ``names``, as the environment played them by the rules of
    ``engine``. A message is a turn, with all of its calls. What the model writes after its answer, or after
    its last turn, is no part of the episode. A message that calls no tool ends it, as it ends TRL's
    conversation; one whose calls TRL did not run, or whose results found no room, ends it for want of turns,
    or of context.
    """
    left = list(plays)
    made: list[Move] = []
    for exchange in exchanges(talk):
        known = [call for call in exchange.calls if _reaches(call, names)]
        ran, left = left[: len(known)], left[len(known) :]
        action, end = _action(exchange, ran)
        end = end or engine.end_of(action, engine.max_turns(episode) - len(made) - 1)
        if exchange.next == len(talk.completion_ids):
            end = end or EndReason.CONTEXT_EXHAUSTED  # the reply left no room for another message
        said = _said(talk, exchange, framing, weights)
        results = tuple(result for play in ran for result in play.turn.results)
        if isinstance(action, Answer):
            turn = Turn(said.text, action, (said,))
            stop = exchange.stop
        elif not exchange.replies:
            turn = Turn(said.text, action, (said,), results)
            stop = exchange.stop
        else:
            text = "\n".join(exchange.replies)
            ids = tuple(talk.completion_ids[exchange.stop : exchange.next])
            reply = Segment("environment", "tool", text, ids, vocabulary=framing.written)
            cut = sum(play.turn.cut for play in ran)
            turn = Turn(said.text, action, (said, reply), results, text, cut)
            stop = exchange.next
        made.append(Move(episode, turn, end))
        if end is not None:
            return made, stop
    return made, len(talk.completion_ids)


def _reaches(call: Mapping[str, Any], names: Collection[str]) -> bool:
    """Whether TRL passes a call on to the environment."""
    return call.get("name") in names and isinstance(call.get("arguments"), Mapping)


def _action(exchange: Exchange, ran: Sequence[Move]) -> tuple[ToolCalls | Answer | Invalid, EndReason | None]:
    """What a message does, and why the episode ends with it, as far as the environment knows."""
    if not exchange.calls:
        return Invalid("the message calls no tool"), EndReason.INVALID_MESSAGE
    played = [move.turn.action for move in ran]
    answer = next((action for action in played if isinstance(action, Answer)), None)
    if answer is not None:
        return answer, EndReason.ANSWERED
    end = next((move.end for move in ran if move.end is not None), None)
    if not ran and not exchange.replies:
        return Invalid("the conversation ended before the calls were run"), EndReason.TURNS_EXHAUSTED
    if not exchange.replies:
        end = end or EndReason.CONTEXT_EXHAUSTED  # what they brought found no room
    calls = [call for action in played if isinstance(action, ToolCalls) for call in action.calls]
    if calls:
        return ToolCalls(tuple(calls)), end
    refused = [action.reason for action in played if isinstance(action, Invalid)]
    unknown = [f"there is no tool {call.get('name')!r}" for call in exchange.calls]
    return Invalid((refused or unknown)[0]), end


def _said(talk: Conversation, exchange: Exchange, framing: Verbatim, weights: str) -> Segment:
    """The model's message as it was sampled."""
    ids = tuple(talk.completion_ids[exchange.start : exchange.stop])
    known = None if talk.log_probs is None else talk.log_probs[exchange.start : exchange.stop]
    ended = bool(ids) and ids[-1] in framing.end_ids
    return Segment(
        "agent",
        "assistant",
        framing.text(ids[:-1] if ended else ids),
        ids,
        None if known is None else tuple(float("nan" if value is None else value) for value in known),
        framing.vocabulary,
        tuple(framing.token_text(number) for number in ids),
        weights,
    )
