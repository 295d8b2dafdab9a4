"""Transcripts to token ids: each segment tokenized alone, control tokens written by the framing alone.

Two properties hold for any text, and everything else in the scorers rests on them. No text can spell a
control token. And where the agent is about to write, a transcript's ids begin with the ids that it had
where the agent wrote before, so that a prefix cache hits.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import product
from typing import TYPE_CHECKING, TypeAlias, get_args

from igpo_gym.episode import Role, Segment
from igpo_gym.errors import SpecError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids: TypeAlias = tuple[int, ...]
Seams: TypeAlias = Mapping[tuple[Role | None, Role], Ids]
"""What stands between a message of one role and the next; None is the beginning of the transcript."""

REMEMBERED_TEXTS = 4096
"""How many texts' ids a framing remembers, so that a step tokenizes only what is new."""


class Framing:
    """Turns segments into token ids for one tokenizer.

    With a chat template, consecutive segments of one role are one message, and the control tokens between
    messages are those of the template, cut out of its own rendering once (see :func:`chat_seams`). Without
    one, the segments follow each other, after what the tokenizer puts in front of a text (a BOS, or nothing).

    ``tokenizer`` is a fast tokenizer of transformers; it is left as it is. Raises SpecError if it is a slow
    one, if text could spell its control tokens, or if its chat template rewrites a plain conversation.

    >>> from igpo_gym.lm.loading import load_model
    >>> framing = Framing(load_model("nano")[1])
    >>> ids = framing.ids([Segment("environment", "user", "Where is Danzig?")])
    >>> framing.text(ids)
    '<|bos|> Where is Danzig?'
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not tokenizer.is_fast:
            raise SpecError(
                f"{type(tokenizer).__name__} is a slow tokenizer; one with a tokenizer.json is needed"
            )
        # A private copy: this setting, and the padding and truncation of a shared tokenizer, are state.
        self._backend = copy.deepcopy(tokenizer.backend_tokenizer)
        self._backend.encode_special_tokens = True
        self._backend.no_padding()
        self._backend.no_truncation()
        self._size = len(tokenizer)
        self._control = {n for n, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._end_of_text = frozenset(() if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,))
        self.text_ids = lru_cache(maxsize=REMEMBERED_TEXTS)(self._tokenize)
        self.token_text = lru_cache(maxsize=None)(lambda number: self.text((number,)))
        """What one id spells, for people to read."""
        _refuse_spelled_control_tokens(tokenizer, self.text_ids)
        self._seams = chat_seams(tokenizer) if tokenizer.chat_template else plain_seams(tokenizer)
        seam = self._seams.get(("assistant", "user"), ())
        end_of_turn = [number for number in seam if number in self._control][:1]
        self._ends = frozenset(end_of_turn) | self._end_of_text

    def _tokenize(self, text: str) -> Ids:
        """The ids of ``text`` alone, in which no special token is ever matched."""
        return tuple(self._backend.encode(text, add_special_tokens=False).ids)

    def text(self, ids: Sequence[int]) -> str:
        """What the ids spell, control tokens too."""
        return str(self._backend.decode(list(ids), skip_special_tokens=False))

    @cached_property
    def vocabulary(self) -> str:
        """A fingerprint of what each id spells: equal where two tokenizers mean the same by all ids."""
        entries = sorted(self._backend.get_vocab(with_added_tokens=True).items())
        return hashlib.sha256(json.dumps(entries).encode()).hexdigest()[:16]

    @property
    def end_ids(self) -> frozenset[int]:
        """The control tokens that can end the agent's message: the end of a turn, and of a text."""
        return self._ends

    def ids(self, segments: Sequence[Segment]) -> Ids:
        """The transcript's token ids, up to where the agent writes next (its message is open).

        Raises SpecError as :meth:`pieces` does.
        """
        ids = [number for piece in self.pieces(segments) for part in piece for number in part]
        role = segments[-1].role if segments else None
        return (*ids, *self._seam(role, "assistant")) if role != "assistant" else tuple(ids)

    def _joined(self, last: int | None, before: Role | None, after: Role) -> Ids:
        """The seam behind a message whose last sampled token may be the one that the seam begins with."""
        seam = self._seam(before, after)
        return seam[1:] if seam and last == seam[0] and last in self.end_ids else seam

    def pieces(self, segments: Sequence[Segment]) -> Iterator[tuple[Ids, Ids]]:
        """For each segment, the control tokens in front of it and its own ids: together the transcript.

        The ids that a policy of the same vocabulary sampled are used where a segment has them. The token that
        ended the message is among them: where another role's message follows, it stands for the same token
        at the beginning of the seam. Raises SpecError for an order of roles that the chat template does not
        have, and for ids of no named vocabulary that this tokenizer does not have.
        """
        role: Role | None = None
        last: int | None = None
        for segment in segments:
            seam = self._joined(last, role, segment.role) if segment.role != role else ()
            role = segment.role
            sampled = self.sampled(segment)
            last = sampled[-1] if sampled else None
            yield seam, self.text_ids(segment.text) if sampled is None else sampled

    def sampled(self, segment: Segment) -> Ids | None:
        """The ids that a policy sampled; None where it sampled none, or in another vocabulary.

        Raises SpecError where the vocabulary is not named, and the ids cannot be of this one.
        """
        if segment.ids is None or (segment.vocabulary and segment.vocabulary != self.vocabulary):
            return None
        if segment.ids and not 0 <= min(segment.ids) <= max(segment.ids) < self._size:
            raise SpecError(
                "a segment carries token ids that this tokenizer does not have: the policy that sampled them "
                "has another tokenizer, so its messages must name their vocabulary, or come without ids"
            )
        return segment.ids

    def _seam(self, before: Role | None, after: Role) -> Ids:
        try:
            return self._seams[before, after]
        except KeyError:
            place = f"after a {before} message" if before else "at the beginning"
            raise SpecError(f"the tokenizer's chat template has no {after} message {place}") from None


def plain_seams(tokenizer: PreTrainedTokenizerBase) -> Seams:
    """The seams without a chat template: what the tokenizer puts in front of a text, at the beginning."""
    text = "a"
    alone = tokenizer(text, add_special_tokens=False)["input_ids"]
    framed = tokenizer(text)["input_ids"]
    starts = (start for start in range(len(framed)) if framed[start : start + len(alone)] == alone)
    front = tuple(framed[: next(starts, 0)])
    roles = get_args(Role)
    return dict.fromkeys(product(roles, roles), ()) | {(None, role): front for role in roles}


def chat_seams(tokenizer: PreTrainedTokenizerBase) -> Seams:
    """Cut the control tokens between messages out of the chat template's own rendering.

    The template is rendered on messages whose contents are marks, and cut at the marks. What it does to later
    conversations (dropping old thoughts, for one) no longer matters: the pieces are put around every
    transcript alike. What it puts before a first user message (a default system prompt, for one) is kept.
    A template may open the agent's message with more than the header that it shows later (with ``<think>``,
    for one); all of the agent's messages are then opened so, for that is what the agent continues.

    Raises SpecError if the pieces do not make up the template's rendering of a plain conversation.
    """

    def cut(*roles: Role) -> list[str]:
        marks = [f"mark{number}of{len(roles)}" for number in range(1, len(roles) + 1)]
        messages = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
        rest = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        pieces = []
        for mark in marks:
            piece, found, rest = rest.partition(mark)
            if not found or mark in rest:
                raise SpecError(f"the chat template does not show each message of {', '.join(roles)} once")
            pieces.append(piece)
        return [*pieces, rest]

    try:
        start, header, close, header_again, close_again, opening = cut(
            "user", "assistant", "user", "assistant", "user"
        )
        single_start, single_opening = cut("user")
    except SpecError:
        raise
    except Exception as problem:  # a template is a program: it may raise anything
        raise SpecError(f"the chat template cannot render a plain conversation: {problem}") from problem
    if (start, header, close, opening) != (single_start, header_again, close_again, single_opening):
        raise SpecError("the chat template writes a conversation's later turns in another way than its first")
    if not opening.startswith(header.rstrip()):
        raise SpecError(
            f"the chat template opens the agent's message with {opening!r}, but shows it with {header!r}"
        )
    pieces: dict[tuple[Role | None, Role], str] = {
        (None, "user"): start,
        ("user", "assistant"): opening,
        ("assistant", "user"): close,
    }
    try:
        pieces[None, "system"], pieces["system", "user"], system_opening = cut("system", "user")
    except Exception:  # Some templates refuse a system message; so does the framing, when one comes.
        system_opening = opening
    if system_opening != opening:
        raise SpecError("the chat template opens the agent's message in another way after a system message")
    pieces |= _tool_seams(cut, close, opening)
    return {
        seam: tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for seam, text in pieces.items()
    }


def _tool_seams(
    cut: Callable[..., list[str]], close: str, opening: str
) -> dict[tuple[Role | None, Role], str]:
    """The seams around a tool's message. A template without that role shows it as a user's message."""
    try:
        _, _, tool_close, tool_opening = cut("user", "assistant", "tool")
    except Exception:  # a template is a program: it may raise anything
        tool_close, tool_opening = close, opening
    return {("assistant", "tool"): tool_close, ("tool", "assistant"): tool_opening}


def _refuse_spelled_control_tokens(
    tokenizer: PreTrainedTokenizerBase, text_ids: Callable[[str], Ids]
) -> None:
    """Special tokens are split when text is tokenized; here that is put to the proof, one by one."""
    for number, token in tokenizer.added_tokens_decoder.items():
        if token.special and number != tokenizer.unk_token_id and number in text_ids(token.content):
            raise SpecError(f"text could spell the control token {token.content!r} with this tokenizer")
