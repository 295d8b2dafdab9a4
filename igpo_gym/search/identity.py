"""Which backend a retriever is: what tells the answers of one from those of another in a search cache."""

from __future__ import annotations

import hashlib
import re
from itertools import product
from pathlib import Path
from typing import Any

import igpo_gym.specs as specs
from igpo_gym.data.interface import QuestionSet
from igpo_gym.errors import SpecError
from igpo_gym.search.bm25 import FORMAT
from igpo_gym.search.bm25.sharing import index_place
from igpo_gym.text import without_credentials

HANDLING = frozenset(
    {"timeout", "retries", "backoff", "rate", "concurrency", "connections", "batch", "batch_size"}
)
"""Options of specs that say how a backend is asked, whichever it is, and not what it finds."""

_HOST = re.compile(r"\w+://[^/?#]*")


def spec_identities(search: str, questions: QuestionSet) -> tuple[str, ...]:
    """What a spec says of the backend that it names: one identity, or one for each replica of a server.

    It is the spec's text, without credentials and without the options of ``HANDLING``, with a fingerprint of
    the file or folder that it names, and with that of the questions' passages where the maker asks for
    ``questions``. That of a BM25 index is its content alone, for a copy is the same backend. A spec that is
    made of others has the identities of its parts in their places. Nothing is constructed.

    >>> spec_identities("http://me:secret@HOST:8000/retrieve/,http://host:8001/retrieve#timeout=5", None)
    ('http://host:8000/retrieve', 'http://host:8001/retrieve')
    >>> spec_identities("hybrid:http://host%23timeout=5,http://host:8001#k=10", None)
    ('hybrid:[http://host][http://host:8001]#k=10',)
    """
    spec = specs.Spec.parse(search)
    kept = {key: value for key, value in sorted(spec.options.items()) if key not in HANDLING}
    if inner := specs.made_of("search", spec.place):
        name = spec.place.partition(":")[0]
        each = product(*(spec_identities(part, questions) for part in inner))
        return tuple(str(specs.Spec(f"{name}:{''.join(f'[{own}]' for own in owns)}", kept)) for owns in each)
    if (place := index_place(search)) is not None:
        content = specs.fingerprint(Path(place)) if place else passages_fingerprint(questions)
        return (f"bm25 {FORMAT} {content or place}",)
    make, place = specs.placed("search", spec.place)
    found = [specs.fingerprint(search)]
    if specs.takes(make, "questions"):
        found.append(passages_fingerprint(questions))
    content = "".join(f" {each}" for each in found if each)
    scheme = spec.place.removesuffix(place)
    addresses = [f"{scheme}{_address(each)}" for each in specs.Spec(place).places]
    return tuple(f"{specs.Spec(each, kept)}{content}" for each in addresses)


def identity_of(retriever: Any) -> str:
    """What a retriever says of itself by its attribute ``identity``; empty where it has none.

    Raises SpecError for an identity that is no text.
    """
    identity = getattr(retriever, "identity", "")
    if not isinstance(identity, str):
        raise SpecError(f"the identity of {type(retriever).__name__} must be a text, not {identity!r:.60}")
    return identity


def passages_fingerprint(questions: QuestionSet) -> str:
    """The fingerprint of a question set's passages; a hash of them where it brings none."""
    if questions.fingerprint:
        return questions.fingerprint
    digest = hashlib.blake2b(digest_size=16)
    for passage in questions.passages:
        digest.update(repr((passage.id, passage.title, passage.text)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _address(place: str) -> str:
    return _HOST.sub(lambda found: found[0].lower(), without_credentials(place)).rstrip("/")
