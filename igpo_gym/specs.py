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

import difflib
import hashlib
import importlib
import inspect
import json
import math
import os
import re
import sys
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, overload
from urllib.parse import unquote

from igpo_gym.errors import SpecError
from igpo_gym.storage import cache_dir, written_file
from igpo_gym.text import without_credentials

T = TypeVar("T")

LOCK = threading.RLock()
"""Held while anything is loaded: libraries that import lazily are not safe to load from several threads."""

ROOMS = (
    "igpo_gym.data",
    "igpo_gym.search",
    "igpo_gym.tools",
    "igpo_gym.protocols",
    "igpo_gym.scorers",
    "igpo_gym.rewards",
    "igpo_gym.agents.policies",
    "igpo_gym.agents.training.estimators",
)
"""The modules that register what specs of this package can name; imported before others' names are taken."""

PLUGINS = "igpo_gym.plugins"
"""The group of entry points whose modules are loaded, so that they can register what they have."""

PATH = "<path>"
"""The name under which a kind registers what opens a file or folder that exists."""

OTHER = "<other>"
"""The name under which a kind registers what takes a place that is nothing else, as a hub's name."""


# What there is.


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object that specs name."""

    noun: str
    """What a spec of the kind is called in messages."""
    thing: str
    """What an object of the kind is called in messages."""
    has: Mapping[str, str] = field(default_factory=dict)
    """The attributes that make an object one of the kind, and how they are written in messages."""
    kept: int = 0
    """How many objects, those of the specs that were used last, are kept so that equal specs share one."""


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "questions": Kind(
            "questions",
            "set of questions",
            {"questions": "questions", "passages": "passages", "fingerprint": "fingerprint"},
            kept=8,
        ),
        "search": Kind("search", "retriever", {"search": "search(queries, k)"}),
        "scorer": Kind("scorer", "scorer", {"score": "score(requests)"}, kept=4),
        "reward": Kind("reward", "reward", {"terms": "terms", "price": "price(episode, turn)"}),
        "term": Kind("reward term", "reward term", {"price": "price(episode, turn)", "views": "views"}),
        "instrument": Kind(
            "instrument",
            "instrument",
            {"name": "name", "version": "version", "measure": "measure(states)"},
        ),
        "tool": Kind("tool", "tool", {"spec": "spec, a ToolSpec", "run": "run(calls)"}),
        "protocol": Kind(
            "protocol",
            "protocol",
            {"parse": "parse(message)", "write": "write(action)", "prompt": "prompt(question)"},
        ),
        "estimator": Kind(
            "advantage estimator", "advantage estimator", {"name": "name", "uses_gains": "uses_gains"}
        ),
        "policy": Kind("policy", "policy", {"act": "act(episodes)"}),
    }
)
"""The kinds by the name that :func:`register` and :func:`resolve` take."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is registered under a name."""

    make: Any
    """A function or class, an object that is ready, or "package.module:attribute" of one."""
    form: str
    """How it is written in a spec, for messages."""
    files: bool
    """Whether what stands behind the colon is a file or folder."""
    runs_code: bool
    """Whether what stands behind the colon can run code."""
    owner: str
    """The module that registered it."""


_entries: dict[str, dict[str, Entry]] = {kind: {} for kind in KINDS}
_loaded = _loading = False
_kept: dict[str, OrderedDict[Hashable, Any]] = {kind: OrderedDict() for kind in KINDS}


@overload
def register(
    kind: str, name: str, *, form: str = "", files: bool = False, runs_code: bool = False
) -> Callable[[T], T]: ...


@overload
def register(
    kind: str, name: str, make: T, *, form: str = "", files: bool = False, runs_code: bool = False
) -> T: ...


def register(
    kind: str,
    name: str,
    make: Any = None,
    *,
    form: str = "",
    files: bool = False,
    runs_code: bool = False,
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
    colon is a file or folder. ``runs_code``: it can run code, so it is not taken from files (see
    :func:`from_file`).

    Raises SpecError for a kind that does not exist, and for a name that another module has registered. The
    same module may register it anew, as when a notebook's cell runs again.
    """
    owner = str(sys._getframe(1).f_globals.get("__name__"))
    if not owner.startswith("igpo_gym."):
        _load_rooms()  # the package's names are its own, however early others come

    def add(made: T) -> T:
        table, entry = _table(kind), Entry(made, form or name, files, runs_code, owner)
        # Without the lock: modules register while they are imported, and imports have locks of their own.
        if name in table and table[name].owner != owner:
            raise SpecError(
                f"the {KINDS[kind].noun} {name!r} is that of {table[name].owner}; choose another name"
            )
        table[name] = entry
        return made

    return add if make is None else add(make)


def unregister(kind: str, name: str) -> None:
    """Forget a name. Raises SpecError if it is not registered."""
    if _table(kind).pop(name, None) is None:
        raise SpecError(f"no {KINDS[kind].noun} is registered as {name!r}")


def registered(kind: str, name: str) -> bool:
    """Whether ``name`` is a name or scheme of the kind."""
    return _entry(kind, name) is not None


def names(kind: str) -> tuple[str, ...]:
    """The registered names of a kind, those of plugins included, in the order of their registration."""
    _load_plugins()
    return tuple(name for name in _table(kind) if name not in (PATH, OTHER))


def forms(*kinds: str) -> str:
    """What a spec of the kinds can be, for messages."""
    _load_plugins()
    known = {entry.form for kind in kinds for entry in _table(kind).values()}
    return ", ".join([*sorted(known), "package.module:attribute"])


def _table(kind: str) -> dict[str, Entry]:
    if kind not in _entries:
        raise SpecError(f"unknown kind {kind!r}; choose one of: {', '.join(KINDS)}")
    return _entries[kind]


def _entry(kind: str, name: str) -> Entry | None:
    table = _table(kind)
    if name not in table:
        _load_plugins()
    return table.get(name)


def _load_rooms() -> None:
    """Import what registers the package's own names. It needs no lock: imports have their own."""
    for room in ROOMS:
        importlib.import_module(room)


def _load_plugins() -> None:
    """Import the package's rooms and the entry points, once.

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
            _load_rooms()
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


# The grammar.


@dataclass(frozen=True, slots=True)
class Spec:
    """A spec in its parts.

    >>> Spec.parse("http://host:8000/v1#model=a%2Cb,kind=chat")
    Spec(place='http://host:8000/v1', options={'model': 'a,b', 'kind': 'chat'})
    >>> str(Spec("world:test", {"hops": "2-3"}))
    'world:test#hops=2-3'
    """

    place: str
    options: Mapping[str, str] = field(default_factory=dict)
    """Values by key, decoded. A key is a name of Python's."""

    @classmethod
    def parse(cls, text: str) -> Spec:
        """From a text. Raises SpecError for options that cannot be read, or that come twice."""
        place, hash_sign, behind = text.partition("#")
        options: dict[str, str] = {}
        for pair in behind.split(",") if hash_sign else ():
            key, equals, value = pair.partition("=")
            if not (key.isidentifier() and equals):
                # A '#' in a password, which belongs encoded, would show the half of it that is in front.
                shown = "a URL" if "@" in behind else repr(without_credentials(text))
                raise SpecError(
                    f"{shown} has options that cannot be read; behind '#' stand key=value, joined by commas, "
                    "with ',' in a value as %2C and '#' as %23"
                )
            if key in options:
                raise SpecError(f"{without_credentials(text)!r} has the option {key!r} twice")
            options[key] = unquote(value)
        return cls(place, options)

    def __str__(self) -> str:
        pairs = ",".join(f"{key}={_ESCAPED.sub(_escape, value)}" for key, value in self.options.items())
        return f"{self.place}#{pairs}" if pairs else self.place

    @property
    def places(self) -> tuple[str, ...]:
        """The place, or where URLs are joined by commas, each of them: replicas of one server.

        >>> Spec("http://a:8000,http://b:8000").places
        ('http://a:8000', 'http://b:8000')
        """
        return tuple(re.split(r",(?=\w+://)", self.place)) if "://" in self.place else (self.place,)


_ESCAPED = re.compile(r"[%,#+\s]")
"""What a value is not written with: signs of the grammar, and those that could join two specs."""


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())


def joined(text: str) -> list[str]:
    """The specs that " + " joins into one.

    >>> joined("world:test + jsonl:mine.jsonl")
    ['world:test', 'jsonl:mine.jsonl']
    """
    return [part.strip() for part in re.split(r"\s\+\s", text)]


# From a spec to an object.


@dataclass(frozen=True, slots=True)
class _Found:
    """What a place was found to be."""

    make: Any
    place: str
    """What ``make`` is called with, if it takes it."""
    form: str = ""
    """How its specs are written."""


_IMPORT = re.compile(r"([A-Za-z_]\w*(?:\.\w+)+):([A-Za-z_]\w*(?:\.\w+)*)(?::(.*))?", re.DOTALL)
NEAR = 0.75
"""How alike two names are, in difflib's measure, that one is asked about for the other."""


def resolve(kind: str, spec: Any, **context: Any) -> Any:
    """The object that a spec names, or the object itself.

    ``context`` is what makers of the kind may ask for by name, see :func:`register`. Kinds whose objects are
    kept (see ``KINDS``) give the same object for equal specs, as long as the files that they name hold the
    same; their makers are given no context.

    Raises SpecError for a spec that names nothing, for options that do not exist or do not fit, and for an
    object that lacks what its kind has; and what the maker raises. Whatever the spec holds of user names and
    passwords is in no message.
    """
    kept = KINDS[kind].kept if kind in KINDS else 0
    if not isinstance(spec, str):
        return checked(kind, spec)
    parsed = Spec.parse(spec)
    with LOCK:
        found = _find(kind, parsed)
        if not kept:
            return _made(kind, parsed, found, context)
        key = (str(parsed), found.make if isinstance(found.make, str) else id(found.make), fingerprint(spec))
        there = _kept[kind]
        if key not in there:
            # The maker is held beside what it made, so that its id stays its own.
            there[key] = found.make, _made(kind, parsed, found, context)
        there.move_to_end(key)
        while len(there) > kept:
            there.popitem(last=False)
        return there[key][1]


def maker(kind: str, name: str) -> Any:
    """What stands behind a registered name or an import: a function or class, or an object that is ready.

    Raises SpecError for a name that is neither.
    """
    make = _find(kind, Spec(name)).make
    if not isinstance(make, str):
        return make  # without the lock, for modules ask while they are imported
    with LOCK:
        return _attribute(make)


def checked(kind: str, thing: Any, source: str = "") -> Any:
    """``thing``, if it has what its kind has. Raises SpecError that says what it lacks."""
    lacking = [shown for name, shown in _kind(kind).has.items() if not hasattr(thing, name)]
    if not lacking and not isinstance(thing, type):
        return thing
    what = without_credentials(repr(thing))[:60]
    lacks = f"has no {lacking[0]}" if lacking else "is a class, not an object of it"
    raise SpecError(
        f"{f'{source} gave {what}, which' if source else what} is no {KINDS[kind].thing}: it {lacks}; "
        f"or give one of: {forms(kind)}"
    )


def called(
    make: Any,
    what: str,
    place: str,
    options: Mapping[str, str],
    context: Mapping[str, Any],
    form: str = "",
) -> Any:
    """Call ``make`` with as much of a spec as it takes, see :func:`register`; ``what`` names it in messages.

    >>> called(lambda folder, depth=2: (folder, depth), "walk", "home", {"depth": "3"}, {})
    ('home', 3)
    """
    try:
        parameters = inspect.signature(make).parameters
    except ValueError:  # some functions that are written in C
        return make(*[place] * bool(place), **options, **context)
    told = {name: context[name] for name in parameters.keys() & context.keys()}
    open_ended = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    own = [each for name, each in parameters.items() if name not in told and each.kind in _BY_PLACE]
    first = own[0] if own else None
    if place and first is None:
        raise SpecError(
            f"{what} takes nothing behind its colon, and {without_credentials(place)!r} stands there"
        )
    if not place and first is not None and first.default is first.empty and first.name not in options:
        raise SpecError(
            f"{what} needs something behind its colon: its {first.name}{f' ({form})' * bool(form)}"
        )
    known = {
        name: each
        for name, each in parameters.items()
        if name not in told and each.kind in _BY_NAME and not (place and each is first)
    }
    given: dict[str, Any] = {}
    for key, value in options.items():
        if key in known:
            given[key] = converted(value, known[key], f"{key} of {what}")
        elif open_ended and key not in parameters:
            given[key] = value
        else:
            there = ", ".join(known) or "none"
            raise SpecError(f"{what} has no option {key!r}{_did_you_mean(key, known)}; it has: {there}")
    for name, each in known.items():
        if each.default is each.empty and name not in given:
            raise SpecError(f"{what} needs the option {name}: write #{name}=...")
    if not place or first is None:
        return make(**given, **told)
    if first.kind is first.POSITIONAL_ONLY:
        return make(place, **given, **told)
    return make(**{first.name: place}, **given, **told)


_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def converted(value: object, parameter: inspect.Parameter, what: str) -> Any:
    """A text as the int, float or bool that a parameter takes; else as it is. SpecError where it is none."""
    kind = _type_name(parameter)
    if kind not in ("bool", "int", "float"):
        return value
    text = str(value).strip()
    try:
        made = _TRUTHS[text.lower()] if kind == "bool" else int(text) if kind == "int" else float(text)
    except (KeyError, ValueError):
        made = math.nan
    if not math.isfinite(made):
        raise SpecError(f"{value!r} is no {kind}, which {what} must be")
    return made


def _type_name(parameter: inspect.Parameter) -> str:
    """ "int", "float", "bool", or anything else for what takes a text."""
    note = parameter.annotation
    if note is not parameter.empty:
        text = note.__name__ if isinstance(note, type) else str(note)
        words = re.sub(r"^(?:typing\.)?Optional\[(.*)\]$", r"\1", text).replace(" ", "").split("|")
        numbers = [word for word in ("float", "int", "bool") if word in words]  # a float takes an int too
        return "str" if "str" in words or not numbers else numbers[0]
    return type(parameter.default).__name__


def _kind(kind: str) -> Kind:
    _table(kind)
    return KINDS[kind]


def _find(kind: str, spec: Spec) -> _Found:
    """The maker for a place. Raises SpecError with what exists."""
    place = spec.place
    if name := _name(kind, place):
        entry = _entries[kind][name]
        rest = place[len(name) + 1 :]
        return _Found(entry.make, place if rest.startswith("//") else rest, entry.form)
    table = _table(kind)
    if PATH in table and _exists(place):
        return _Found(table[PATH].make, place)
    if match := _IMPORT.fullmatch(place):
        return _Found(f"{match[1]}:{match[2]}", match[3] or "")
    if OTHER in table and not _near(place, names(kind)):
        return _Found(table[OTHER].make, place)
    raise unknown(place, kind)


def unknown(place: str, *kinds: str) -> SpecError:
    """The error for a place that names nothing of the first kind; names of the others would do as well."""
    known = [name for kind in kinds for name in names(kind)]
    name = place.partition(":")[0]
    near = [] if name in known else _near(name, known)
    hint = f"did you mean {' or '.join(near)}? Choose" if near else "choose"
    wrong = f"unknown {_kind(kinds[0]).noun} {without_credentials(place)!r}"
    if _like_a_path(place) and any(PATH in _table(kind) for kind in kinds):
        wrong, hint = f"{wrong}: there is no such file or folder", "choose"
    return SpecError(f"{wrong}; {hint} one of: {forms(*kinds)}")


def _name(kind: str, place: str) -> str:
    """The registered name or scheme that a place begins with; empty if there is none."""
    scheme, _, rest = place.partition(":")
    if rest.startswith("//"):
        scheme = scheme.lower()
    for name in (place, scheme) if rest else (place,):
        if name not in (PATH, OTHER) and _entry(kind, name) is not None:
            return name
    return ""


def _exists(place: str) -> bool:
    with suppress(OSError, ValueError):
        return bool(place) and Path(place).exists()
    return False


def _like_a_path(place: str) -> bool:
    return ":" not in place and ("/" in place or "\\" in place or bool(Path(place).suffix))


def _near(name: str, known: Iterable[str]) -> list[str]:
    lower = {each.lower(): each for each in known}
    return [lower[each] for each in difflib.get_close_matches(name.lower(), lower, 3, NEAR)]


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = _near(name, known)
    return f" (did you mean {near[0]}?)" if near else ""


def _made(kind: str, spec: Spec, found: _Found, context: Mapping[str, Any]) -> Any:
    make = _attribute(found.make) if isinstance(found.make, str) else found.make
    shown = without_credentials(spec.place)
    what = f"the {KINDS[kind].noun} {shown!r}"
    ready = all(hasattr(make, name) for name in KINDS[kind].has) and KINDS[kind].has
    if not isinstance(make, type) and (ready or not callable(make)):
        if found.place or spec.options:
            raise SpecError(f"{what} is an object that takes no options")
        return checked(kind, make, shown)
    return checked(kind, called(make, what, found.place, spec.options, context, found.form), shown)


def _attribute(text: str) -> Any:
    """What "package.module:attribute" names; the working directory is searched after what is installed."""
    module, _, path = text.partition(":")
    try:
        try:
            thing: Any = importlib.import_module(module)
        except ModuleNotFoundError as missing:
            here = str(Path.cwd())
            if missing.name != module.partition(".")[0] or {"", here} & set(sys.path):
                raise
            sys.path.append(here)  # last, so that nothing there takes the place of what is installed
            importlib.invalidate_caches()
            thing = importlib.import_module(module)
    except ImportError as problem:
        if type(problem) not in (ImportError, ModuleNotFoundError):
            raise  # a missing extra, which says what to install
        raise SpecError(f"cannot import {module!r}, which {text!r} names: {problem}") from problem
    for name in path.split("."):
        if not hasattr(thing, name):
            near = _did_you_mean(name, dir(thing))
            raise SpecError(f"{module!r} has no {name!r}{near}, which {text!r} names")
        thing = getattr(thing, name)
    return thing


# Trust.


def from_file(kind: str, spec: str, file: str | Path, *, trusted: bool = False) -> str:
    """A spec that was read from a file, if what it names may be named there: the one way for such specs in.

    That is what is registered, files that exist, and URLs. What can run code, or fetches from the hub, is
    taken from code and from this process's command line only: SpecError names it, unless the same text stands
    on the command line, or all is ``trusted`` (the option ``--trust-imports``).
    """
    if not isinstance(spec, str):
        raise SpecError(f"{file} names as {_kind(kind).noun} what is no text: {spec!r:.60}")
    for part in _parts(kind, spec):
        if trusted or _on_the_command_line(spec) or _on_the_command_line(part):
            continue
        kinds = (kind, "term") if kind == "reward" else (kind,)
        place = Spec.parse(part).place
        entry = next((_entries[each][name] for each in kinds if (name := _name(each, place))), None)
        path = any(PATH in _table(each) for each in kinds) and _exists(place)
        if entry.runs_code if entry else not path:
            raise SpecError(
                f"{file} names the {KINDS[kind].noun} {without_credentials(part)!r}, which is neither "
                "registered, nor a file, nor a URL; if you trust it, name it on the command line, or give "
                "--trust-imports"
            )
    return spec


def _parts(kind: str, spec: str) -> Iterator[str]:
    """The specs in a text that may join several."""
    if kind not in ("reward", "estimator"):  # they have parameters in parentheses
        yield from joined(spec)
        return
    for summand in re.split(r"\s[+-]\s", spec):
        yield summand.partition("(")[0].rpartition("*")[2].strip()


def _on_the_command_line(text: str) -> bool:
    return any(text in (given, given.partition("=")[2]) for given in sys.argv[1:])


# Fingerprints.

WHOLE_BYTES = 64 << 20
"""Files of up to this size are hashed whole."""

_PIECE = 1 << 20
"""Of a larger file, how much is hashed at its beginning and at its end; smaller ones are not remembered."""

_SETTLED_SECONDS = 2.0
"""A file that was written within this time may be written again without another time to show for it."""

_MODEL_FILES = frozenset({".json", ".safetensors", ".model", ".txt", ".jinja", ".bin", ".gguf"})


def fingerprint(spec: str | Path | None) -> str:
    """A hash of the content that a spec or path names; empty where it names no file or folder.

    The same for a copy, and whatever the working directory: registered names are never paths. Of a folder,
    that of its files (of a model's, those that a model is made of). A file of more than ``WHOLE_BYTES``
    counts by its size, its first and last megabyte, and the header of a safetensors file. Hashes of large
    files are remembered in the cache folder, for a path, size and time of writing.

    >>> fingerprint("world:test"), fingerprint(None)
    ('', '')
    """
    if isinstance(spec, Path):
        return _of_path(spec)
    found = [_of_path(path) for part in joined(spec or "") if (path := _path(part)) is not None]
    return found[0] if len(found) < 2 and found else _digest(*found) if found else ""


def _path(text: str) -> Path | None:
    """The file or folder that a spec of any kind names."""
    place = Spec.parse(text).place
    for kind in KINDS:
        if name := _name(kind, place):
            rest = place[len(name) + 1 :]
            return Path(rest) if _entries[kind][name].files and rest else None
    return Path(place) if _exists(place) else None


def _of_path(path: Path) -> str:
    try:
        if not path.is_dir():
            return _of_file(path)
        files = sorted(each for each in path.iterdir() if each.is_file() and not each.name.startswith("."))
        if (path / "config.json").is_file():
            files = [each for each in files if each.suffix in _MODEL_FILES]
        return _digest(*(part for each in files for part in (each.name, _of_file(each))))
    except OSError:
        return ""


def _of_file(path: Path) -> str:
    status = path.stat()
    if status.st_size < _PIECE:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    where = str(path.resolve())
    state = [where, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    memo = cache_dir() / "fingerprints" / f"{_digest(where)}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        remembered = json.loads(memo.read_text(encoding="utf-8"))
        if remembered["state"] == state:
            return str(remembered["hash"])
    made = _hash(path, status.st_size)
    if time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED_SECONDS:
        with suppress(OSError), written_file(memo) as file:
            json.dump({"state": state, "hash": made}, file)
    return made


def _hash(path: Path, size: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        if size <= WHOLE_BYTES:
            while block := file.read(_PIECE):
                digest.update(block)
            return digest.hexdigest()
        digest.update(f"{size} bytes".encode())
        digest.update(file.read(_PIECE))
        if path.suffix == ".safetensors":
            file.seek(0)
            header = int.from_bytes(file.read(8), "little")
            digest.update(file.read(min(header, WHOLE_BYTES)))
        file.seek(-_PIECE, os.SEEK_END)
        digest.update(file.read())
    return digest.hexdigest()


def _digest(*parts: str | int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(f"{part}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
