"""Transcripts to token ids: each segment tokenized alone, control tokens written by the framing alone.

Two properties hold for any text, and everything else in the scorers rests on them. No text can spell a
control token. And where the agent is about to write, a transcript's ids begin with the ids that it had
where the agent wrote before, so that a prefix cache hits.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from igpo_gym.episode import Role, Segment
from igpo_gym.errors import SpecError
from igpo_gym.lm.templates import Place, Template, chat_template, continues, no_template, without_thought
from igpo_gym.lm.texts import Ids, TextTokenizer, control_tokens
from igpo_gym.protocols.grammar import THINK

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["AnswerIds", "Framing", "Ids"]

REMEMBERED = ((1 << 14, 4096), (1 << 17, 128))
"""How long texts are, in characters, of which a framing remembers the ids, and of how many, so that a step
tokenizes only what is new. Those of longer texts are not remembered: they take 60 bytes a token."""

Read = TypeVar("Read")


def remembered(function: Callable[..., Read]) -> Callable[..., Read]:
    """A function of texts that remembers what it has given: of many short texts, of fewer long ones."""
    sizes = [(most, lru_cache(maxsize=count)(function)) for most, count in REMEMBERED]

    def of(*texts: str) -> Read:
        length = sum(map(len, texts))
        for most, known in sizes:
            if length <= most:
                return known(*texts)
        return function(*texts)

    return of


class AnswerIds(NamedTuple):
    """An answer behind its probe, in token ids."""

    before: Ids
    """The tokens between the transcript and the answer: the probe's."""
    ids: Ids
    """The answer's own, which are asked about; at least one."""
    joined: bool = False
    """Whether the first of them holds the end of the probe's prefix, too, or the last of them the beginning
    of its suffix."""


class Seam(NamedTuple):
    """What stands between two messages."""

    ids: Ids
    lead: str = ""
    """The blank at its end, where the tokenizer joins it with the text that follows."""


class Framing:
    """Turns segments into token ids for one tokenizer.

    With a chat template, consecutive segments of one role are one message, and the control tokens between
    messages are those of the template, cut out of its own rendering once (see :func:`chat_template`). Without
    one, the segments follow each other, after what the tokenizer puts in front of a text (a BOS, or nothing).

    A template may open the agent's message with a thought, open or closed: the agent continues it. A thought
    that text opens (a probe, the environment, a message without ids) stands in its place, not within it.

    Where the template parts messages by plain text alone (``[/INST]``, ``ASSISTANT:``), the environment's
    texts cannot spell it: a sign in it is replaced by a wider one, in the ids alone.

    ``tokenizer`` is a fast tokenizer of transformers; it is left as it is. Raises SpecError if it is a slow
    one, if text could spell its control tokens or turn marks, or if its chat template rewrites a plain
    conversation.

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
        self.name = str(tokenizer.name_or_path or type(tokenizer).__name__)
        """The tokenizer's name, for messages."""
        self._texts = TextTokenizer(tokenizer)
        self.size = 1 + max(tokenizer.get_vocab().values(), default=-1)
        """One more than the largest id: some vocabularies have holes."""
        self._control = control_tokens(tokenizer).keys()
        self._end_of_text = frozenset(() if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,))
        self.text_ids = remembered(self._texts.ids)
        """The ids of a text by itself, in which it spells no control token."""
        self.token_text = lru_cache(maxsize=None)(lambda number: self.text((number,)))
        """What one id spells, for people to read."""
        self.behind = remembered(self._behind)
        _refuse_spelled_control_tokens(tokenizer, self.text_ids)
        self.template = chat_template(tokenizer) if tokenizer.chat_template else no_template()
        """The texts between messages."""
        cut = partial(_seam, tokenizer, self._texts)
        self._seams = {place: cut(place, text) for place, text in self.template.seams.items()}
        self._bare = {
            place: cut(place, without_thought(text))
            for place, text in self.template.seams.items()
            if place[1] == "assistant" and THINK in text
        }
        self._ends = self._end_of_text.union(
            number
            for (before, _), seam in self._seams.items()
            if before == "assistant"
            for number in [number for number in seam.ids if number in self._control][:1]
        )
        self.marks = turn_marks(tokenizer, self.template, self.text_ids, self.text)
        """The plain texts that part messages, and what stands in their place in the environment's texts."""
        self._mark = re.compile("|".join(map(re.escape, self.marks))) if self.marks else None

    def text(self, ids: Sequence[int]) -> str:
        """What the ids spell, control tokens too."""
        return self._texts.text(ids)

    @cached_property
    def vocabulary(self) -> str:
        """A fingerprint of what each id spells: equal where two tokenizers mean the same by all ids."""
        return self._texts.vocabulary

    @property
    def end_ids(self) -> frozenset[int]:
        """The control tokens that can end the agent's message: the end of a turn, whoever writes the next
        one, and of a text."""
        return self._ends

    def check_rows(self, model: str, rows: int) -> None:
        """Raise SpecError where a transcript may hold a token of which ``model``, with so many, has none."""
        framed = {number for seam in (*self._seams.values(), *self._bare.values()) for number in seam.ids}
        for number in range(rows, self.size):
            if (number in framed or number not in self._control) and (token := self.token_text(number)):
                raise SpecError(
                    f"{model} cannot be driven with the tokenizer {self.name!r}: it has no embedding for the "
                    f"token {token!r} ({number}), which a transcript may hold; after tokens were added call "
                    "model.resize_token_embeddings(len(tokenizer))"
                )

    def closing(self, seam: Ids) -> Ids:
        """What ends the agent's message in the seam behind it: an end token, and blanks before it, where the
        template writes some. Empty where nothing does."""
        for place, number in enumerate(seam):
            if number in self._ends:
                return seam[: place + 1]
            if number in self._control:
                break
        return ()

    def ids(self, segments: Sequence[Segment], text: str | None = None) -> Ids:
        """The transcript's token ids, up to where the agent writes next (its message is open).

        ``text`` is what will stand there, if that is text and not what a policy samples: it decides about the
        template's thought. Raises SpecError as :meth:`pieces` does.
        """
        ids = [number for piece in self.pieces(segments) for part in piece for number in part]
        role = segments[-1].role if segments else None
        return (*ids, *self._seam(role, "assistant", text).ids) if role != "assistant" else tuple(ids)

    def opens_thought(self, segments: Sequence[Segment]) -> bool:
        """Whether what the agent writes next begins within a thought that the template has opened."""
        return self.template.thought == "open" and not (segments and segments[-1].role == "assistant")

    def _behind(self, prefix: str, text: str, suffix: str = "") -> AnswerIds:
        """``text`` as it stands between ``prefix`` and ``suffix``: tokenized as one text with them, and cut.

        A token across a cut counts to the text. The ids are the same after every transcript.
        """
        if self._texts.apart or not text:
            return AnswerIds(self.text_ids(prefix), self.text_ids(text))
        start, stop = len(prefix), len(prefix + text)
        tokens = self._texts.tokens(prefix + text + suffix)
        own = [token for token in tokens if token[2] > start and token[1] < stop]
        before = [number for number, _, last in tokens if last <= start]
        joined = bool(own) and (own[0][1] < start or own[-1][2] > stop)
        return AnswerIds(tuple(before), tuple(number for number, _, _ in own), joined)

    def pieces(self, segments: Sequence[Segment]) -> Iterator[tuple[Ids, Ids]]:
        """For each segment, the control tokens in front of it and its own ids: together the transcript.

        The ids that a policy of the same vocabulary sampled are used where a segment has them. The token that
        ended the message is among them: where another role's message follows, it stands for what ends the
        message with the same token in the seam. Raises SpecError for an order of roles that the chat template
        does not have, and for ids of no named vocabulary that this tokenizer does not have.
        """
        role: Role | None = None
        last: int | None = None
        for segment in segments:
            sampled = self.sampled(segment)
            text = self._as_read(segment, begins=segment.role != role) if sampled is None else ""
            seam = Seam(())
            if segment.role != role:
                seam = self._seam(role, segment.role, text if segment.author == "environment" else None)
            # The token that ended a message may be the one with which the seam would end it.
            closing = self.closing(seam.ids) if last in self._ends else ()
            twice = len(closing) if closing[-1:] == (last,) else 0
            role, last = segment.role, sampled[-1] if sampled else None
            own = self.text_ids(seam.lead + text) if sampled is None else sampled
            yield seam.ids[twice:], own

    def _as_read(self, segment: Segment, begins: bool) -> str:
        """The text of a segment as it is read. The environment's cannot spell what parts messages; the
        agent's does not open the thought that the template has opened, if it ``begins`` a message."""
        text = segment.text
        if segment.author == "environment":
            return self._mark.sub(lambda found: self.marks[found[0]], text) if self._mark else text
        if begins and self.template.thought == "open" and text.startswith(THINK):
            return text.removeprefix(THINK).removeprefix("\n")
        return text

    def sampled(self, segment: Segment) -> Ids | None:
        """The ids that a policy sampled; None where it sampled none, or in another vocabulary.

        Raises SpecError where the vocabulary is not named, and the ids cannot be of this one.
        """
        unknown = not segment.ids and segment.text  # a server told the text alone
        if segment.ids is None or unknown or (segment.vocabulary and segment.vocabulary != self.vocabulary):
            return None
        if segment.ids and not 0 <= min(segment.ids) <= max(segment.ids) < self.size:
            raise SpecError(
                "a segment carries token ids that this tokenizer does not have: the policy that sampled them "
                "has another tokenizer, so its messages must name their vocabulary, or come without ids"
            )
        return segment.ids

    def _seam(self, before: Role | None, after: Role, text: str | None = None) -> Seam:
        """What stands between two messages, the later of which begins with ``text``, if that is known."""
        place = (before, after)
        if place not in self._seams:
            where = f"after a {before} message" if before else "at the beginning"
            raise SpecError(f"the tokenizer's chat template has no {after} message {where}")
        alone = text is not None and place in self._bare and not continues(self.template.thought, text)
        return (self._bare if alone else self._seams)[place]


def _seam(tokenizer: PreTrainedTokenizerBase, texts: TextTokenizer, place: Place, text: str) -> Seam:
    """A seam of this text, tokenized as it stands; at the beginning, with what the tokenizer puts there."""
    plain, start = not tokenizer.chat_template, place[0] is None
    letter = "a"

    def ids(written: str) -> Ids:
        if start or not texts.changed:
            return tuple(tokenizer(written, add_special_tokens=plain and start)["input_ids"])
        for head in ("\n", ".", "0"):  # behind which no blank is inserted, the first that stays apart
            encoded = tokenizer(head + written, add_special_tokens=False, return_offsets_mapping=True)
            spans = encoded["offset_mapping"]
            first = next((n for n, (_, stop) in enumerate(spans) if stop > len(head)), len(spans))
            if first == len(spans) or spans[first][0] >= len(head):
                break
        return tuple(encoded["input_ids"][first:])

    if texts.byte_level and not texts.changed and not plain:
        return Seam(tuple(tokenizer(text, add_special_tokens=False)["input_ids"]))
    if not text and not start:
        return Seam(())
    whole = ids(text + letter)
    for lead in (" ", ""):
        behind = texts.ids(lead + letter)
        found = [n for n in range(len(whole)) if whole[n : n + len(behind)] == behind]
        if found and not (lead and (place[1] == "assistant" or texts.apart)):
            return Seam(whole[: found[-1]], lead)
    return Seam(ids(text))


def turn_marks(
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    text_ids: Callable[[str], Ids],
    spelled: Callable[[Ids], str],
) -> dict[str, str]:
    """What parts messages where no control token does, and the text that takes its place: one sign is wider.

    Raises SpecError where it cannot be told from any text.
    """
    between = re.compile("|".join(map(re.escape, control_tokens(tokenizer).values())) or "(?!)")
    turns = [without_thought(text) for place, text in template.seams.items() if "assistant" in place]
    if not tokenizer.chat_template or all(between.search(text) for text in turns):
        return {}
    marks: dict[str, str] = {}
    for text in turns:
        for mark in filter(None, map(str.strip, between.split(text))):
            sign = next((sign for sign in mark if sign in string.punctuation), "")
            wider = mark.replace(sign, chr(ord(sign) + 0xFEE0), 1) if sign else mark
            if mark not in spelled(text_ids(wider)):
                marks[mark] = wider
        if not between.search(text) and text.strip() not in marks:
            raise SpecError(
                f"the chat template parts messages by the plain text {text!r}, which any text could spell"
            )
    return marks


def _refuse_spelled_control_tokens(
    tokenizer: PreTrainedTokenizerBase, text_ids: Callable[[str], Ids]
) -> None:
    """Text that would be a control token is taken apart, which a single character cannot be."""
    for text in control_tokens(tokenizer).values():
        if len(text) == 1 and not text_ids(text):
            raise SpecError(f"text could spell the control token {text!r} with this tokenizer")
