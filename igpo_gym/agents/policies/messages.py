"""From the token ids that a language model sampled to the agent's message, cut at its action. Said once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence

from igpo_gym.episode import Message
from igpo_gym.lm.framing import Framing
from igpo_gym.protocols import TextProtocol


def sampled_message(
    framing: Framing,
    protocol: TextProtocol,
    ids: Sequence[int],
    log_probs: Sequence[float] | None = None,
    ends: Collection[int] = (),
    weights: str = "",
    thinking: bool | None = None,
) -> Message:
    """The message in what a model, or an inference engine, sampled.

    It goes up to the token that ended the turn, which is one of its ids, and no further than the first
    action: engines that were told to stop there may sample a little more, and others do not stop at all.
    ``ends`` are tokens that end a turn beside those of the framing. ``log_probs`` are as the model tells
    them, in nats; nan where it tells none. ``weights`` is the version of the weights, where one is known.
    ``thinking``: whether the message begins within a thought that the template has opened (see
    :meth:`Framing.opens_thought`), in which a tag ends nothing; by default as where every message of the
    agent is one of the template's.
    """
    if thinking is None:
        thinking = framing.template.thought == "open" and protocol.reply_role != "assistant"
    ends = framing.end_ids | set(ends)
    last = next((place for place, number in enumerate(ids) if number in ends), None)
    spelled = list(ids[:last])

    def complete(length: int) -> bool:
        return protocol.end(framing.text(spelled[:length]), thinking) is not None

    length = bisect_left(range(len(spelled) + 1), True, key=complete)
    acts = length <= len(spelled)
    length = min(length, len(spelled))
    kept = ids[:length] if acts or last is None else ids[: length + 1]
    known = [float("nan")] * len(kept) if log_probs is None else log_probs[: len(kept)]
    return Message(
        text=protocol.cut(framing.text(spelled[:length]), thinking),
        ids=tuple(kept),
        log_probs=tuple(float(value) for value in known),
        vocabulary=framing.vocabulary,
        tokens=tuple(framing.token_text(number) for number in kept),
        cut_off=bool(kept) and not acts and last is None,
        weights=weights,
    )
