"""What a chat template puts between messages, cut out of its own rendering."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from igpo_gym.episode import Role
from igpo_gym.errors import SpecError
from igpo_gym.protocols.grammar import THINK, THOUGHT

if TYPE_CHECKING:
    from _typeshed import TraceFunction
    from transformers import PreTrainedTokenizerBase

Place: TypeAlias = tuple[Role | None, Role]
"""Between a message of one role and the next; None is the beginning of the transcript."""

Thought: TypeAlias = Literal["none", "open", "closed"]


@dataclass(frozen=True, slots=True)
class Template:
    """The texts between messages.

    >>> Template({("user", "assistant"): "<|assistant|><think>"}).thought
    'open'
    """

    seams: Mapping[Place, str]
    """Those that end where the agent writes are as the agent continues them."""

    @property
    def opening(self) -> str:
        """What opens the agent's message behind a user's; empty without a chat template."""
        return self.seams.get(("user", "assistant"), "")

    @property
    def thought(self) -> Thought:
        """Whether the agent's message begins with a thought: one that is open, or one that is closed, as
        where thinking is switched off."""
        return thought_in(self.opening)


def thought_in(opening: str) -> Thought:
    """What ``opening`` does about the agent's thought."""
    _, begun, rest = opening.partition(THINK)
    return "none" if not begun else "closed" if THOUGHT in rest else "open"


def continues(thought: Thought, text: str) -> bool:
    """Whether a message of this text goes on where its opening has begun a thought, or ended one."""
    if thought == "closed":
        return not text.lstrip().startswith(THINK)
    opening, closing = text.find(THINK), text.find(THOUGHT)
    return closing >= 0 and not 0 <= opening < closing


def without_thought(opening: str) -> str:
    """What opens the agent's message, without the thought that it begins or shows."""
    return opening.partition(THINK)[0]


def no_template() -> Template:
    """Without a chat template, segments follow each other."""
    roles = get_args(Role)
    return Template(dict.fromkeys([*product(roles, roles), *product([None], roles)], ""))


def chat_template(tokenizer: PreTrainedTokenizerBase) -> Template:
    """The texts between messages of the tokenizer's chat template.

    The template is rendered on messages whose contents are marks, and cut at the marks. What it does to later
    conversations (dropping old thoughts, for one) no longer matters: the pieces are put around every
    transcript alike. What it puts before a first user message (a default system prompt, for one) is kept.

    A template may open the agent's message with more than it shows of it later (with ``<think>``, for one),
    or show it with more (a channel, for one): all of the agent's messages are then opened with more, for so
    the agent continues what stands there. A thought that it shows in messages without one is left out.

    Raises SpecError if the pieces do not make up the template's rendering of a plain conversation.
    """
    return _cut_template(_cutter(tokenizer))


def _cutter(tokenizer: PreTrainedTokenizerBase) -> Callable[..., list[str]]:
    """A function that renders messages of given roles, and cuts the text at their contents."""

    def cut(*roles: Role) -> list[str]:
        marks = [f"mark{number}of{len(roles)}" for number in range(1, len(roles) + 1)]
        messages = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
        problems = []
        for form in content_forms(messages):
            try:
                return _pieces(rendered(tokenizer, form), marks, roles)
            except Exception as problem:  # a template is a program: it may raise anything
                problems.append(problem)
        raise problems[0]

    return cut


def content_forms(messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], ...]:
    """Messages whose contents are texts, then lists of parts: models that see may show these alone.

    >>> content_forms([{"role": "user", "content": "Where?"}])[1]
    [{'role': 'user', 'content': [{'type': 'text', 'text': 'Where?'}]}]
    """
    return messages, [{**each, "content": [{"type": "text", "text": each["content"]}]} for each in messages]


SECONDS = 5.0
"""How much CPU time a rendering may take; one of a few messages takes a few milliseconds."""


def rendered(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]], add_generation_prompt: bool = True
) -> str:
    """Messages as a tokenizer's template shows them.

    A template is a program of the folder that it came with: TimeoutError for one that does not come to an
    end, and whatever else it raises.
    """
    ends, before = time.thread_time() + SECONDS, sys.gettrace()

    def watch(frame: FrameType, event: str, argument: Any) -> TraceFunction:
        if time.thread_time() > ends:
            raise TimeoutError(f"it takes more than {SECONDS:g} s of CPU time")
        return watch

    sys.settrace(watch)
    try:
        return str(
            tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        )
    finally:
        sys.settrace(before)


def _pieces(rest: str, marks: list[str], roles: tuple[Role, ...]) -> list[str]:
    pieces = []
    for mark in marks:
        piece, found, rest = rest.partition(mark)
        if not found or mark in rest:
            raise SpecError(f"the chat template does not show each message of {', '.join(roles)} once")
        pieces.append(piece)
    return [*pieces, rest]


def _cut_template(cut: Callable[..., list[str]]) -> Template:
    try:
        start, header, close, header_again, close_again, opening = cut(
            "user", "assistant", "user", "assistant", "user"
        )
        single_start, single_opening = cut("user")
    except SpecError:
        raise
    except Exception as problem:  # a template is a program: it may raise anything
        raise SpecError(f"the chat template cannot render a plain conversation: {problem}") from problem
    headers = {without_thought(header), without_thought(header_again)}
    if len(headers) > 1 or (start, close, opening) != (single_start, close_again, single_opening):
        raise SpecError("the chat template writes a conversation's later turns in another way than its first")
    full = _fuller(opening, header)
    seams: dict[Place, str] = {
        (None, "user"): start,
        ("user", "assistant"): full,
        ("assistant", "user"): close,
    }
    try:
        seams[None, "system"], seams["system", "user"], system_opening = cut("system", "user")
    except Exception:  # Some templates refuse a system message; so does the framing, when one comes.
        system_opening = opening
    if system_opening != opening:
        raise SpecError("the chat template opens the agent's message in another way after a system message")
    more = full[len(opening) :] if full.startswith(opening) else ""
    return Template(seams | _tool_seams(cut, close, opening, more))


def _fuller(opening: str, header: str) -> str:
    """What opens the agent's message, of how a template opens it and how it shows it."""
    shown = without_thought(header)
    if opening.startswith(shown.rstrip()):
        return opening
    if THINK not in header and header.startswith(opening.rstrip()):
        return header
    raise SpecError(
        f"the chat template opens the agent's message with {opening!r}, but shows it with {header!r}"
    )


def _tool_seams(cut: Callable[..., list[str]], close: str, opening: str, more: str) -> dict[Place, str]:
    """The seams around a tool's message. A template without that role shows it as a user's message."""
    try:
        _, _, tool_close, tool_opening = cut("user", "assistant", "tool")
    except Exception:  # a template is a program: it may raise anything
        tool_close, tool_opening = close, opening
    return {("assistant", "tool"): tool_close, ("tool", "assistant"): tool_opening + more}
