"""What is registered: the kinds of objects that specs name, and the names of each kind."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, overload

from igpo_gym.errors import SpecError
from igpo_gym.specs.grammar import Spec

T = TypeVar("T")

LOCK = threading.RLock()
"""Held while anything is loaded: libraries that import lazily are not safe to load from several threads."""

PLUGINS = "igpo_gym.plugins"
"""The group of entry points whose modules are loaded, so that they can register what they have."""

PATH = "<path>"
"""The name under which a kind registers what opens a file or folder that exists."""

OTHER = "<other>"
"""The name under which a kind registers what takes a place that is nothing else, as a hub's name."""

_NAME = re.compile(r"[^\s#:(),]+")
"""What the name of something can be."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object that specs name."""

    room: str
    """The module that registers the package's own names of the kind; imported when one is looked up."""
    noun: str
    """What a spec of the kind is called in messages."""
    thing: str
    """What an object of the kind is called in messages."""
    has: Mapping[str, str] = field(default_factory=dict)
    """The attributes that make an object one of the kind, and how they are written in messages."""
    common: str = ""
    """The function that gives every object of the kind its common options: "package.module:attribute". It is
    called with the object and with those of its options that are given and that its maker does not have."""
    kept: int = 0
    """How many objects, those of the specs that were used last, are kept so that equal specs share one."""


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "questions": Kind(
            "igpo_gym.data",
            "questions",
            "set of questions",
            {"questions": "questions", "passages": "passages", "fingerprint": "fingerprint"},
            common="igpo_gym.data.subsets:subset",
            kept=8,
        ),
        "search": Kind("igpo_gym.search", "search", "retriever", {"search": "search(queries, k)"}),
        "scorer": Kind("igpo_gym.scorers", "scorer", "scorer", {"score": "score(requests)"}, kept=4),
        "reward": Kind(
            "igpo_gym.rewards", "reward", "reward", {"terms": "terms", "price": "price(episode, turn)"}
        ),
        "term": Kind(
            "igpo_gym.rewards",
            "reward term",
            "reward term",
            {"price": "price(episode, turn)", "views": "views"},
        ),
        "instrument": Kind(
            "igpo_gym.rewards",
            "instrument",
            "instrument",
            {"name": "name", "version": "version", "measure": "measure(states)"},
        ),
        "tool": Kind("igpo_gym.tools", "tool", "tool", {"spec": "spec, a ToolSpec", "run": "run(calls)"}),
        "toolbox": Kind("igpo_gym.tools", "tools", "set of tools", {"tools": "tools"}, kept=4),
        "protocol": Kind(
            "igpo_gym.protocols",
            "protocol",
            "protocol",
            {"parse": "parse(message)", "write": "write(action)", "prompt": "prompt(question)"},
        ),
        "estimator": Kind(
            "igpo_gym.agents.training.estimators",
            "advantage estimator",
            "advantage estimator",
            {"name": "name", "uses_gains": "uses_gains"},
        ),
        "policy": Kind("igpo_gym.agents.policies", "policy", "policy", {"act": "act(episodes)"}),
        "transcripts": Kind(
            "igpo_gym.agents.rollouts.transcripts",
            "layout of transcripts",
            "layout of transcripts",
            {"name": "name", "fits": "fits(fields)", "read": "read(row)"},
        ),
        "judge": Kind(
            "igpo_gym.rewards", "judge", "judge", {"grade": "grade(questions, answers, predictions)"}, kept=4
        ),
        "metric": Kind(
            "igpo_gym.data", "metric", "metric", {"name": "name", "score": "score(prediction, answers)"}
        ),
    }
)
"""The kinds by the name that :func:`register` and :func:`resolve` take."""


ALSO: Mapping[str, tuple[str, ...]] = MappingProxyType({"reward": ("term",), "tool": ("toolbox",)})
"""By kind, those whose names stand in its specs as well."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is registered under a name."""

    make: Any
    """A function or class, an object that is ready, or "package.module:attribute" of one."""
    form: str
    """How it is written in a spec, for messages."""
    files: bool | Callable[[str], Sequence[Path]]
    """Whether what stands behind the colon is a file or folder; a function tells which ones are read."""
    runs_code: bool | Callable[[Spec], bool]
    """Whether what stands behind the colon can run code; a function tells it of each, with its options."""
    parts: bool
    """Whether what stands behind the colon are specs of the same kind, joined by commas."""
    owner: str
    """The module that registered it."""


_entries: dict[str, dict[str, Entry]] = {kind: {} for kind in KINDS}
_loaded = _loading = False
_changes = 0


@overload
def register(
    kind: str,
    name: str,
    *,
    form: str = "",
    files: bool | Callable[[str], Sequence[Path]] = False,
    runs_code: bool | Callable[[Spec], bool] = False,
    parts: bool = False,
) -> Callable[[T], T]: ...


@overload
def register(
    kind: str,
    name: str,
    make: T,
    *,
    form: str = "",
    files: bool | Callable[[str], Sequence[Path]] = False,
    runs_code: bool | Callable[[Spec], bool] = False,
    parts: bool = False,
) -> T: ...


def register(
    kind: str,
    name: str,
    make: Any = None,
    *,
    form: str = "",
    files: bool | Callable[[str], Sequence[Path]] = False,
    runs_code: bool | Callable[[Spec], bool] = False,
    parts: bool = False,
) -> Any:
    """Make ``name`` stand for what ``make`` gives; without ``make``, a decorator of it.

    ``make`` is a function or class, or "package.module:attribute" of one, which is imported at its first use.
    It is called with what stands behind the colon of a spec (a URL as a whole), where it takes a positional
    argument and either there is something or it must be given, and with the options behind ``#`` as keyword
    arguments, converted to int, float or bool where its annotations or defaults say so. An argument with the
    name of something that the kind is told is given that: ``questions`` for a search, ``questions``,
    ``protocol`` and ``sampling`` for a policy, ``engine``, ``policy`` and others for an instrument (see
    docs/specs.md). A ``make`` that is an object of the kind is taken as it is.

    ``form`` is how the spec is written, for messages; by default the name. ``files``: what stands behind the
    colon is a file or folder, or a function that gives the files and folders that are read for it; they count
    in a fingerprint. ``runs_code``: it can run code or fetch from the hub, so it is not taken from files (see
    :func:`from_file`), or a function that tells this of what stands behind the colon, a :class:`Spec`.
    ``parts``: what stands behind it are specs of the same kind (see :func:`igpo_gym.specs.parts`); each
    counts in a fingerprint, and must be one that a file may name.

    Raises SpecError for a kind that does not exist, for a name that no spec can spell, and for one that
    another module has registered. The same module may register it anew, as when a notebook's cell runs again.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SpecError(f"a name has neither blanks nor any of # : ( ) , in it, unlike {name!r}")
    owner = str(sys._getframe(1).f_globals.get("__name__"))
    if not owner.startswith("igpo_gym."):
        importlib.import_module(kind_of(kind).room)  # its names are its own, however early others come

    def add(made: T) -> T:
        table, entry = table_of(kind), Entry(made, form or name, files, runs_code, parts, owner)
        # Without the lock: modules register while they are imported, and imports have locks of their own.
        if name in table and table[name].owner != owner:
            raise SpecError(
                f"the {KINDS[kind].noun} {name!r} is that of {table[name].owner}; choose another name"
            )
        _note_change(name in table)
        table[name] = entry
        return made

    return add if make is None else add(make)


def unregister(kind: str, name: str) -> None:
    """Forget a name. Raises SpecError if it is not registered."""
    if table_of(kind).pop(name, None) is None:
        raise SpecError(f"no {KINDS[kind].noun} is registered as {name!r}")
    _note_change(True)


def changes() -> int:
    """How often a name has come to stand for something else, or for nothing: what was made before may not be
    what the same spec makes now."""
    return _changes


def _note_change(changed: bool) -> None:
    global _changes
    _changes += changed


def registered(kind: str, name: str) -> bool:
    """Whether ``name`` is a name or scheme of the kind."""
    return _entry(kind, name) is not None


def names(kind: str) -> tuple[str, ...]:
    """The registered names of a kind, those of plugins included, in the order of their registration."""
    _load(kind)
    return tuple(name for name in table_of(kind) if name not in (PATH, OTHER))


def forms(*kinds: str) -> str:
    """What a spec of the kinds can be, for messages."""
    for kind in kinds:
        _load(kind)
    known = {entry.form for kind in kinds for entry in table_of(kind).values()}
    return ", ".join([*sorted(known), "package.module:attribute"])


def table_of(kind: str) -> dict[str, Entry]:
    """What is registered of a kind, by name. Raises SpecError for a kind that does not exist."""
    if kind not in _entries:
        raise SpecError(f"unknown kind {kind!r}; choose one of: {', '.join(KINDS)}")
    return _entries[kind]


def _entry(kind: str, name: str) -> Entry | None:
    table = table_of(kind)
    if name not in table:
        _load(kind)
    return table.get(name)


def _load(kind: str) -> None:
    """Import what registers the package's own names of a kind, and all plugins."""
    importlib.import_module(kind_of(kind).room)  # without the lock: imports have their own
    _load_plugins()


def _load_plugins() -> None:
    """Load the entry points, once.

    A plugin that fails is a warning: it must not take the others down.
    """
    global _loaded, _loading
    if _loaded:
        return
    with LOCK:
        if _loaded or _loading:  # plugins may look names up while they load
            return
        _loading = True
        try:
            for point in entry_points(group=PLUGINS):
                _load_plugin(point)
            _loaded = True
        finally:
            _loading = False


def _load_plugin(point: EntryPoint) -> None:
    try:
        loaded = point.load()
        if inspect.isfunction(loaded):
            loaded()
    except Exception as problem:
        warnings.warn(
            f"the plugin {point.name!r} ({point.value}) cannot be loaded: {problem!r}",
            RuntimeWarning,
            stacklevel=2,
        )


def kind_of(kind: str) -> Kind:
    """The kind of that name. Raises SpecError where there is none."""
    table_of(kind)
    return KINDS[kind]


def registered_in(kind: str, place: str) -> str:
    """The registered name or scheme that a place begins with; empty if there is none."""
    scheme, _, rest = place.partition(":")
    if rest.startswith("//"):
        scheme = scheme.lower()
    for name in (place, scheme) if rest else (place,):
        if name not in (PATH, OTHER) and _entry(kind, name) is not None:
            return name
    return ""


def exists(place: str) -> bool:
    """Whether a place is a file or folder, as far as the system tells."""
    with suppress(OSError, ValueError):
        return bool(place) and Path(place).exists()
    return False
