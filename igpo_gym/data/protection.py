"""Questions of protected sets, such as BrowseComp's: what is written of them shows no text.

Their owners publish them encrypted, so that they do not become training data. So do files that are made here:
a text of such a question, or of an episode that played it, is replaced by a hash before anything is written.
The hash is keyed with the question's text, so that nobody who has the file alone can try answers out, and the
same text has the same hash in every file about the question.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from igpo_gym.episode import Question

_MARK = "hidden:"
"""How what stands in a text's place begins."""

_HASH = re.compile(rf"{_MARK}[0-9a-f]{{16}}")
"""What stands in a text's place."""

_SHOWN = frozenset(
    {
        *("action", "author", "context", "end", "evidence_match", "judge", "kind", "model", "role"),
        *("source", "span", "verdict", "layout", "framing", "place"),
    }
)
"""The fields of a record whose texts are names of the package or of the set."""

_LEFT_OUT = frozenset({"ids", "tokens", "log_probs", "vocabulary"})
"""The fields of a segment that spell its text."""


def shown(question: Question, text: str) -> str:
    """The text, or what stands in its place where the question is protected and the text is not empty.

    >>> shown(Question("1", "Which port?", ("Danzig",)), "Danzig")
    'Danzig'
    >>> shown(Question("1", "Which port?", ("Danzig",), protected=True), "Danzig")
    'hidden:4050f4bf5db70a9e'
    """
    if not question.protected or not text or _HASH.fullmatch(text):
        return text
    key = hashlib.sha256(question.text.encode("utf-8", "replace")).digest()
    made = hashlib.blake2b(text.encode("utf-8", "replace"), key=key, digest_size=8)
    return _MARK + made.hexdigest()


def hidden(question: Question) -> bool:
    """Whether a question was read from a file that shows none of its texts."""
    return question.protected and _HASH.fullmatch(question.text) is not None


def sealed(question: Question, record: Mapping[str, Any], scores: Mapping[str, float]) -> dict[str, Any]:
    """An episode's record (docs/records.md) with hashes in the place of texts.

    Numbers, names of tools and roles, and the question's id and source stay; token ids go. An imported
    transcript may call anything a tool, so that of its names only the usual ones stay. ``sealed`` holds the
    ``scores``, which cannot be computed from hashes.
    """
    seal = _Seal(question, "imported" in record)
    made = {name: seal.value(value, name) for name, value in record.items()}
    made["instruments"] = record["instruments"]
    made["question"] = {**made["question"], "id": question.id}
    made["sealed"] = dict(scores)
    return made


_USUAL = frozenset(
    {
        *("search", "open", "browse", "visit", "access", "code", "python"),
        *("answer", "final_answer", "finish"),
        *("query", "queries", "url", "urls", "document", "text", "title", "goal", "name"),
    }
)
"""What tools and their arguments are called in most transcripts."""


@dataclass(frozen=True, slots=True)
class _Seal:
    """Hides the texts of a question's episode."""

    question: Question
    foreign: bool
    """Whether the names of its tools and arguments are not known to be names."""

    def value(self, value: Any, name: str) -> Any:
        """What is written in the place of a field's value."""
        if isinstance(value, str):
            if name == "tool":
                return self.name(value)
            return value if name in _SHOWN else shown(self.question, value)
        if isinstance(value, Mapping):
            if name == "arguments":  # whatever an agent wrote, in whatever type
                return {self.name(key): self.argument(each) for key, each in value.items()}
            segment = "author" in value
            return {
                key: self.value(each, key)
                for key, each in value.items()
                if not (segment and key in _LEFT_OUT)
            }
        if isinstance(value, Iterable):
            return [self.value(each, name) for each in value]
        return value

    def name(self, name: str) -> str:
        """That of a tool or of an argument."""
        return shown(self.question, name) if self.foreign and name not in _USUAL else name

    def argument(self, value: Any) -> Any:
        """What is written of an argument."""
        if isinstance(value, Mapping):
            return {shown(self.question, str(key)): self.argument(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.argument(each) for each in value]
        return shown(self.question, str(value))
