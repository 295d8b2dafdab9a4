"""Lists of messages with roles, in whatever form a library writes them, as transcripts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from igpo_gym.agents.rollouts.transcripts.actions import action, last_tag, without_thoughts
from igpo_gym.agents.rollouts.transcripts.dialects import first_reply
from igpo_gym.agents.rollouts.transcripts.fields import question_in
from igpo_gym.agents.rollouts.transcripts.interface import About, Transcript
from igpo_gym.agents.rollouts.transcripts.marks import unknown_author
from igpo_gym.agents.rollouts.transcripts.replies import REFUSED, refused, results
from igpo_gym.agents.rollouts.transcripts.tool_text import responses
from igpo_gym.data.reading import GatheredPassages
from igpo_gym.episode import Role, Segment, ToolCalls, Turn
from igpo_gym.protocols.calls_in_text import OBSERVATION, begins_call, ids_in, written
from igpo_gym.protocols.messages import ROLES, Said, said

_CHATML = re.compile(r"<\|im_start\|>(\w+)\n?(.*?)(?:<\|im_end\|>|(?=<\|im_start\|>)|\Z)", re.DOTALL)
_MARKED = ("<answer>", "\\boxed")
"""The marks of answers; an agent whose prompt asks for one answers in no other way."""


def are_messages(value: Any) -> bool:
    """Whether a value is a list of messages.

    >>> are_messages([{"role": "user", "content": "Where?"}]), are_messages([{"from": "gpt", "value": "."}])
    (True, True)
    >>> are_messages([{"type": "human", "content": "Where?"}]), are_messages([{"type": "text", "text": "."}])
    (True, False)
    >>> are_messages([]), are_messages(["Where?"])
    (False, False)
    """
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(each, Mapping) and ("role" in each or "from" in each or each.get("type") in ROLES)
            for each in value
        )
    )


def _apart(messages: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The messages, and in the place of one that holds results of several calls one for each of them.

    As Anthropic's API has them: ``{"type": "tool_result", "tool_use_id", "content"}`` among the user's parts.
    """
    for message in messages:
        parts = message.get("content")
        found = [part for part in parts if _is_result(part)] if isinstance(parts, list | tuple) else []
        for part in found:
            id_ = part.get("tool_use_id")
            yield {"role": "tool", "tool_call_id": id_, "content": part.get("content")}
        rest = [part for part in parts or () if not _is_result(part)] if found else ()
        if rest or not found:
            yield {**message, "content": rest} if found else message


def _is_result(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "tool_result"


CONTROL = "<|im_start|>"
"""What begins a message in ChatML."""


def in_chatml(text: str) -> str:
    """The text, where it is one that a chat template of ChatML rendered; else, as where a reply quotes such a
    text, nothing. What the agent wrote behind a prompt that is not there gets the beginning of its message.

    >>> in_chatml("So.<|im_end|>\\n<|im_start|>user\\nWhere?<|im_end|>\\n")[:26]
    '<|im_start|>assistant\\nSo.<'
    >>> in_chatml("<search>a</search>\\n<information><|im_start|>user\\n</information>\\n\\n")
    ''
    """
    head, sign, _ = text.partition(CONTROL)
    reply = first_reply(text)
    if not sign or (reply and reply[0] < len(head)):
        return ""
    return f"{CONTROL}assistant\n{text}" if "<|im_end|>" in head else text


def chatml(text: str) -> list[dict[str, str]]:
    """The messages of a text that a chat template of ChatML rendered.

    >>> chatml("<|im_start|>user\\nWhere?<|im_end|>\\n<|im_start|>assistant\\nHere.<|im_end|>\\n")
    [{'role': 'user', 'content': 'Where?'}, {'role': 'assistant', 'content': 'Here.'}]
    """
    return [
        {"role": role, "content": content.replace("<|endoftext|>", "")}
        for role, content in _CHATML.findall(text)
    ]


def dialogue(
    messages: Iterable[Mapping[str, Any]], told: About, opening: Sequence[Mapping[str, Any]] = ()
) -> Transcript:
    """Messages as a transcript: what stands before the agent's first one is the prompt.

    ``opening`` are messages that are the prompt whoever wrote them, such as a shown example.

    The roles of replies are those that chat templates know: a reply is a tool's message where all of it is,
    else the user's. ValueError where the agent says nothing.
    """
    before, rest = [said(each) for each in opening], [said(each) for each in _apart(messages)]
    if not before:
        first = next((place for place, each in enumerate(rest) if each.role == "assistant"), len(rest))
        before, rest = rest[:first], rest[first:]
    while rest and rest[0].role != "assistant":
        before.append(rest.pop(0))
    while rest and rest[-1].role == "assistant" and not rest[-1].text.strip():
        rest.pop()  # a template's opening of a message that was never written
    if not rest:
        raise ValueError("the transcript has no message of the agent")
    prompt = _prompt(before, told.question)
    asked = "".join(segment.text for segment in prompt)
    question = told.question or next(
        (question_in(each.text) for each in reversed(before) if each.role == "user"), ""
    )
    plain_answers = told.cut_short is None and not any(mark in asked for mark in _MARKED)
    turns = _turns(rest, plain_answers)
    inline = any(segment.role == "assistant" for turn in turns for segment in turn.segments[1:])
    return Transcript(replace(told, question=question), "text" if inline else "chat", prompt, turns)


def prompt_of(messages: Iterable[Mapping[str, Any]], question: str) -> tuple[Segment, ...]:
    """Messages as the prompt of a transcript; ``question`` stands for the user's where there is none."""
    return _prompt([said(each) for each in messages], question)


def _prompt(before: Sequence[Said], question: str) -> tuple[Segment, ...]:
    """The messages that open the dialogue: at most one of the system, which comes first."""
    segments = list[Segment]()
    for each in before:
        role: Role = each.role
        if role == "tool" or (role == "system" and any(one.role != "system" for one in segments)):
            role = "user"
        segments.append(Segment("environment", role, each.text))
    segments = [segment for segment in segments if segment.text]
    place = next((place for place, each in enumerate(segments) if each.role != "system"), len(segments))
    if question and (place == len(segments) or segments[place].role == "assistant"):
        segments.insert(place, Segment("environment", "user", question))
    return tuple(segments)


def _turns(rest: Sequence[Said], plain_answers: bool) -> tuple[Turn, ...]:
    if all(each.role == "assistant" for each in rest):
        # Nobody else says anything, so replies may stand within the agent's messages.
        text = "".join(each.text for each in rest)
        if reply := first_reply(text):
            return reply[1].turns(text)
        if begins_call(text) and (made_up := OBSERVATION.search(text)):
            raise unknown_author(made_up["mark"])
    corpus, turns, place = GatheredPassages(), list[Turn](), 0
    while place < len(rest):
        message, place = rest[place], place + 1
        replies = list[Said]()
        while place < len(rest) and rest[place].role != "assistant":
            replies.append(rest[place])
            place += 1
        turns.append(_turn(message, replies, corpus, plain_answers and place == len(rest) and not replies))
    return tuple(turns)


def _turn(message: Said, replies: Sequence[Said], corpus: GatheredPassages, plain_answer: bool) -> Turn:
    text = message.text.removesuffix(written(message.calls))
    bodies = _bodies(message.ids, text, replies)
    called = last_tag(text) if any(each.startswith("<information>") for each in bodies) else ""
    does = REFUSED if refused(bodies) else action(text, message.calls, plain_answer, called)
    role: Role = "tool" if all(each.role == "tool" for each in replies) else "user"
    texts = [each.text for each in replies if each.text]
    found = results(does.calls, bodies, corpus) if isinstance(does, ToolCalls) else ()
    segments = (
        Segment("agent", "assistant", message.text),
        *(Segment("environment", role, _ended(text)) for text in texts),
    )
    return Turn(message.text, does, segments, found, "\n".join(texts))


def _ended(text: str) -> str:
    """A reply that ends a line, so that the next one does not go on in it."""
    return text if text.endswith("\n") else f"{text}\n"


def _ids_in(text: str) -> tuple[str, ...]:
    """The ids of the calls in a message's text, where they can be read and have some."""
    with suppress(ValueError):
        return ids_in(without_thoughts(text))
    return ()


def _bodies(ids: Sequence[str], text: str, replies: Sequence[Said]) -> list[str]:
    """What the replies say, call by call: by the calls' ids, which may stand in the message's text, or in the
    order of what was replied."""
    by_id = {each.replies_to: each.text for each in replies if each.replies_to}
    if by_id and not ids:
        ids = _ids_in(text)
    if by_id.keys() & set(ids):
        return [by_id.get(id_, "") for id_ in ids]
    return [body for each in replies for body in responses(each.text) or [each.text]]
