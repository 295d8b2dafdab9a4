"""Which backend a retriever is: what tells the answers of one from those of another in a search cache."""

from __future__ import annotations

import hashlib
import inspect
import re
from typing import Any

import igpo_gym.specs as specs
from igpo_gym.data.interface import QuestionSet
from igpo_gym.errors import SpecError
from igpo_gym.text import without_credentials

HANDLING = frozenset({"timeout", "concurrency", "connections", "retries", "batch", "batch_size"})
"""Options of specs that say how a backend is asked, whichever it is, and not what it finds."""

_HOST = re.compile(r"\w+://[^/?#]*")


def identities(search: Any, questions: QuestionSet) -> tuple[str, ...]:
    """The identities of the retriever that ``search`` names; the replicas of a server have one each.

    Nothing is constructed. What a spec calls may say it by itself, see
    :class:`igpo_gym.search.interface.Identified`; else it is the spec, without credentials and without the
    options of ``HANDLING``, with a fingerprint of the file or folder that it names, and with that of the
    questions' passages where the maker asks for ``questions``. An object says it by its attribute
    ``identity``. Raises SpecError for an object that does not.

    >>> identities("http://me:secret@HOST:8000/retrieve/,http://host:8001/retrieve#timeout=5", None)
    ('http://host:8000/retrieve', 'http://host:8001/retrieve')
    """
    if search is None:
        search = "bm25"
    if not isinstance(search, str):
        return (_of_object(search),)
    spec = specs.Spec.parse(search)
    make, place = specs.placed("search", spec.place)
    if callable(identify := getattr(make, "identify", None)):
        what = f"the search {shown(search)!r}"
        said = specs.called(identify, what, place, spec.options, {"questions": questions})
        return (said,) if isinstance(said, str) else tuple(said)
    kept = {key: value for key, value in sorted(spec.options.items()) if key not in HANDLING}
    found = [specs.fingerprint(search)]
    if _asks_for_questions(make):
        found.append(passages_fingerprint(questions))
    content = "".join(f" {each}" for each in found if each)
    scheme = spec.place.removesuffix(place)
    addresses = [f"{scheme}{_address(each)}" for each in specs.Spec(place).places]
    return tuple(f"{specs.Spec(each, kept)}{content}" for each in addresses)


def passages_fingerprint(questions: QuestionSet) -> str:
    """The fingerprint of a question set's passages; a hash of them where it brings none."""
    if questions.fingerprint:
        return questions.fingerprint
    digest = hashlib.blake2b(digest_size=16)
    for passage in questions.passages:
        digest.update(repr((passage.id, passage.title, passage.text)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def shown(search: Any) -> str:
    """How messages name a retriever: its spec without credentials, or the class of an object.

    >>> shown("http://me:secret@host:8000"), shown(None)
    ('http://host:8000', 'bm25')
    """
    if search is None:
        return "bm25"
    return without_credentials(search) if isinstance(search, str) else type(search).__name__


def _of_object(retriever: Any) -> str:
    identity = getattr(retriever, "identity", None)
    if not isinstance(identity, str) or not identity:
        raise SpecError(
            f"a search cache must know which backend {type(retriever).__name__} is: give it an attribute "
            "identity, a text that changes when what it finds does, or name it in the setting: "
            "search_cache='FOLDER#backend=NAME'"
        )
    return identity


def _asks_for_questions(make: Any) -> bool:
    try:
        return "questions" in inspect.signature(make).parameters
    except (TypeError, ValueError):  # an object that is ready, or some functions that are written in C
        return False


def _address(place: str) -> str:
    return _HOST.sub(lambda found: found[0].lower(), without_credentials(place)).rstrip("/")
