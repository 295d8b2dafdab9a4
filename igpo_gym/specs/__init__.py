"""The one registry: from what a user writes to the object that is meant.

A spec is a text, ``place`` or ``place#key=value,key=value``. The place is looked up in this order:

1. a registered name (``nano``), or a registered scheme before the first colon (``jsonl:FILE``, ``http://...``);
2. a file or folder that exists;
3. ``package.module:attribute``, with a dot in front of the colon, which is imported;
4. for models, a name on the Hugging Face hub.

Anything else is a :class:`SpecError` with the nearest names. Objects that are no texts pass, once they are
known to have the methods of their kind. Names are added by :func:`register`, by the rooms of this package for
their own and by anybody for theirs; modules that the entry points of the group ``igpo_gym.plugins`` name are
loaded at the first lookup of a name that is not registered yet.

>>> @register("policy", "silent")
... class Silent:
...     def __init__(self, words: int = 0) -> None:
...         self.words = words
...     def act(self, episodes):
...         return ["" for _ in episodes]
>>> resolve("policy", "silent#words=3").words
3
>>> unregister("policy", "silent")
"""

from __future__ import annotations

from igpo_gym.specs.fingerprints import fingerprint, named_paths
from igpo_gym.specs.grammar import Spec, joined, listed, parts
from igpo_gym.specs.objects import (
    NEAR,
    asks_for,
    called,
    checked,
    converted,
    made_of,
    maker,
    placed,
    resolve,
    takes,
    unknown,
)
from igpo_gym.specs.registry import (
    KINDS,
    LOCK,
    OTHER,
    PATH,
    PLUGINS,
    Entry,
    Kind,
    changes,
    forms,
    names,
    register,
    registered,
    registered_in,
    unregister,
)
from igpo_gym.specs.trust import from_file

__all__ = [
    "KINDS",
    "LOCK",
    "NEAR",
    "OTHER",
    "PATH",
    "PLUGINS",
    "Entry",
    "Kind",
    "Spec",
    "asks_for",
    "called",
    "changes",
    "checked",
    "converted",
    "fingerprint",
    "forms",
    "from_file",
    "joined",
    "listed",
    "made_of",
    "maker",
    "named_paths",
    "names",
    "parts",
    "placed",
    "register",
    "registered",
    "registered_in",
    "resolve",
    "takes",
    "unknown",
    "unregister",
]
