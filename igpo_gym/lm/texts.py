"""Texts to token ids, each once and alone, as it stands behind other text.

Some tokenizers put a blank in front of whatever text they are given (SentencePiece's dummy prefix, and what
is like it). In the middle of a transcript no blank stands there, and a model that continues the transcript
writes none, so here none is put.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from igpo_gym.text import well_formed

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

Ids: TypeAlias = tuple[int, ...]

READ_APART = frozenset({"f7d6af5cdd80f86f", "5b06631fc213a53a"})
"""The vocabularies, without added tokens, of the packaged models and of those that shipped before, which a
user's may come from: these were trained on texts with a blank in front of each."""

_CHANGES: Mapping[str, Mapping[str, dict[str, Any] | None]] = {
    "normalizer": {"Prepend": None, "Strip": None},
    "pre_tokenizer": {"Metaspace": {"prepend_scheme": "never"}, "ByteLevel": {"add_prefix_space": False}},
    "decoder": {"Metaspace": {"prepend_scheme": "never"}, "Strip": None},
}
"""What is changed in the parts of a tokenizer that treat the ends of a text in their own way; those without a
change are left out."""


class TextTokenizer:
    """A private copy of a tokenizer, for texts alone: no control token is ever matched in one.

    >>> from igpo_gym.lm.loading import load_tokenizer
    >>> texts = TextTokenizer(load_tokenizer("nano"))
    >>> texts.text(texts.ids("Danzig <|eos|>"))
    ' Danzig <|eos|>'
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        # Padding and truncation of a shared tokenizer, and what is set here, are state.
        self._backend: Tokenizer = copy.deepcopy(tokenizer.backend_tokenizer)
        self._backend.encode_special_tokens = True
        self._backend.no_padding()
        self._backend.no_truncation()
        _untrim(self._backend)
        types = set(_types(_part(self._backend, "pre_tokenizer")))
        self.byte_level = "ByteLevel" in types
        """Whether each byte of a text is spelled by itself, blanks too."""
        changed = _without_blanks(self._backend)
        self.apart = bool(changed) and _fingerprint(self._backend.get_vocab(False)) in READ_APART
        """Whether each text is read with the blank in front that the tokenizer puts there."""
        self.changed = bool(changed) and not self.apart
        """Whether the tokenizer itself would put a blank in front of a text."""
        if self.changed:
            for name, state in changed.items():
                _replace(self._backend, name, state)
        self._unknown = tokenizer.unk_token_id
        harmless = {self._unknown} - {tokenizer.bos_token_id, tokenizer.eos_token_id}
        self._control = control_tokens(tokenizer).keys() - harmless

    def tokens(self, text: str) -> list[tuple[int, int, int]]:
        """The tokens of ``text``: for each its id, and from which character to which it goes.

        Some models and normalizers make control tokens of text that was matched as none (the pieces of a
        Unigram model, full-width signs). Such text is taken apart behind its first character. A character
        that is one alone, and text without a token of its own, is left out then.
        """
        encoding = self._backend.encode(well_formed(text), add_special_tokens=False)
        tokens = [(number, *span) for number, span in zip(encoding.ids, encoding.offsets, strict=True)]
        if self._control.isdisjoint(encoding.ids):
            return tokens
        apart = self._control - {self._unknown}
        cuts = [first + 1 for number, first, last in tokens if number in apart and last > first + 1]
        if not cuts:
            return [token for token in tokens if token[0] not in self._control]
        return [
            (number, start + first, start + last)
            for start, stop in pairwise([0, *cuts, len(text)])
            for number, first, last in self.tokens(text[start:stop])
        ]

    def ids(self, text: str) -> Ids:
        """The ids of ``text``."""
        return tuple(number for number, _, _ in self.tokens(text))

    def text(self, ids: Sequence[int]) -> str:
        """What the ids spell, control tokens too."""
        return str(self._backend.decode(list(ids), skip_special_tokens=False))

    @property
    def vocabulary(self) -> str:
        """A fingerprint of what each id spells: equal where two tokenizers mean the same by all ids."""
        return _fingerprint(self._backend.get_vocab(True))


_BYTE = re.compile("<0x[0-9A-F]{2}>")


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """The tokens that no text may spell, by id. Single bytes, which some tokenizers count among their special
    tokens, are not among them: they spell texts."""
    special = {n: str(token) for n, token in tokenizer.added_tokens_decoder.items() if token.special}
    return {number: text for number, text in special.items() if not _BYTE.fullmatch(text)}


def _fingerprint(vocabulary: Mapping[str, int]) -> str:
    return hashlib.sha256(json.dumps(sorted(vocabulary.items())).encode()).hexdigest()[:16]


def _part(backend: Tokenizer, name: str) -> Any:
    """A part of the tokenizer as JSON values; None where it has none."""
    part = getattr(backend, name)
    return None if part is None else json.loads(part.__getstate__())


def _types(part: Any) -> Iterator[str]:
    """The types of a part and of all parts in it."""
    if isinstance(part, dict):
        if isinstance(part.get("type"), str):
            yield part["type"]
        for value in part.values():
            yield from _types(value)
    elif isinstance(part, list):
        for value in part:
            yield from _types(value)


def _untrim(backend: Tokenizer) -> None:
    """Let tokens go from where they begin: some tokenizers leave their blanks out of that."""
    for name in ("pre_tokenizer", "post_processor"):
        state = _part(backend, name)
        whole = _changed(state, {kind: {"trim_offsets": False} for kind in _TRIMMING})
        if whole != state:
            _replace(backend, name, whole)


_TRIMMING = ("ByteLevel", "RobertaProcessing")


def _without_blanks(backend: Tokenizer) -> dict[str, Any]:
    """The parts of a tokenizer that put blanks at the ends of a text, by name, as they are without that."""
    parts = {name: (_part(backend, name), changes) for name, changes in _CHANGES.items()}
    changed = {name: (state, _changed(state, changes)) for name, (state, changes) in parts.items()}
    return {name: new for name, (state, new) in changed.items() if new != state}


def _replace(backend: Tokenizer, name: str, state: Any) -> None:
    part = None if state is None else copy.copy(getattr(backend, name))
    if part is not None:
        part.__setstate__(json.dumps(state).encode())
    setattr(backend, name, part)


def _changed(part: Any, changes: Mapping[str, dict[str, Any] | None]) -> Any:
    """A part of a tokenizer, as JSON values, with ``changes`` made in it; None where it is left out."""
    if isinstance(part, list):
        return [changed for each in part if (changed := _changed(each, changes)) is not None]
    if not isinstance(part, dict):
        return part
    change = changes.get(part.get("type", ""), {})
    return None if change is None else {key: _changed(value, changes) for key, value in part.items()} | change
