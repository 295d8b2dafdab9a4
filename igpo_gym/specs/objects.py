"""From a spec to the object that it names."""

from __future__ import annotations

import importlib
import inspect
import math
import re
import sys
from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from igpo_gym.errors import SpecError, near
from igpo_gym.specs.fingerprints import fingerprint
from igpo_gym.specs.grammar import Spec, parts
from igpo_gym.specs.registry import (
    ALSO,
    KINDS,
    LOCK,
    OTHER,
    PATH,
    exists,
    forms,
    kind_of,
    names,
    registered_in,
    table_of,
)
from igpo_gym.text import without_credentials

_kept: dict[str, OrderedDict[Hashable, Any]] = {kind: OrderedDict() for kind in KINDS}


@dataclass(frozen=True, slots=True)
class _Found:
    """What a place was found to be."""

    make: Any
    place: str
    """What ``make`` is called with, if it takes it."""
    form: str = ""
    """How its specs are written."""


_HOST = re.compile(r"[\w.-]+:\d+(?:/\S*)?")
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
    return placed(kind, name)[0]


def placed(kind: str, place: str) -> tuple[Any, str]:
    """What a place is found to be: its maker, as :func:`maker` gives it, and what that is called with.

    >>> placed("search", "bm25:wiki-index")[1], placed("search", "http://host:8000")[1]
    ('wiki-index', 'http://host:8000')
    """
    found = _find(kind, Spec(place))
    if not isinstance(found.make, str):
        return found.make, found.place  # without the lock, for modules ask while they are imported
    with LOCK:
        return _attribute(found.make), found.place


def made_of(kind: str, place: str) -> list[str]:
    """The specs that a place joins, where it is one that is made of others; else none.

    >>> made_of("search", "hybrid:bm25:wiki,dense:vectors"), made_of("search", "bm25:wiki")
    (['bm25:wiki', 'dense:vectors'], [])
    """
    scheme = registered_in(kind, place)
    return parts(place[len(scheme) + 1 :]) if scheme and table_of(kind)[scheme].parts else []


def asks_for(kind: str, spec: str, name: str) -> bool:
    """Whether what a spec names, or what its parts name, is made from the part of the context ``name``.

    What asks for nothing can be made once and used in many places. Raises SpecError for a spec that names
    nothing.

    >>> asks_for("policy", "expert", "questions"), asks_for("policy", "nano#device=cpu", "questions")
    (True, False)
    """
    place = Spec.parse(spec).place
    if inner := made_of(kind, place):
        return any(asks_for(kind, part, name) for part in inner)
    return takes(maker(kind, place), name)


def takes(make: Any, name: str) -> bool:
    """Whether a maker has a parameter of this name.

    >>> takes(lambda place, questions: None, "questions"), takes(lambda place: None, "questions")
    (True, False)
    """
    try:
        return name in inspect.signature(make).parameters
    except (TypeError, ValueError):  # an object that is ready, and some functions that are written in C
        return False


def checked(kind: str, thing: Any, source: str = "") -> Any:
    """``thing``, if it has what its kind has. Raises SpecError that says what it lacks."""
    lacking = [shown for name, shown in kind_of(kind).has.items() if not hasattr(thing, name)]
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
    also: Iterable[str] = (),
) -> Any:
    """Call ``make`` with as much of a spec as it takes, see :func:`register`; ``what`` names it in messages.

    ``also`` are options that somebody else takes, for messages.

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
            f"{what} needs something behind its colon: its {first.name}{f' ({form})' * bool(form)}; a "
            "function is called with what its spec says, and returns the object"
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
            there = dict.fromkeys((*known, *also))
            listed = ", ".join(there) or "none"
            raise SpecError(f"{what} has no option {key!r}{_did_you_mean(key, there)}; it has: {listed}")
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
    if isinstance(made, float) and not math.isfinite(made):
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


def _find(kind: str, spec: Spec) -> _Found:
    """The maker for a place. Raises SpecError with what exists."""
    place = spec.place
    if name := registered_in(kind, place):
        entry = table_of(kind)[name]
        rest = place[len(name) + 1 :]
        return _Found(entry.make, place if rest.startswith("//") else rest, entry.form)
    table = table_of(kind)
    if PATH in table and exists(place):
        return _Found(table[PATH].make, place)
    if match := _IMPORT.fullmatch(place):
        return _Found(f"{match[1]}:{match[2]}", match[3] or "")
    if OTHER in table and not near(place, names(kind), NEAR) and not _HOST.fullmatch(place):
        return _Found(table[OTHER].make, place)
    raise unknown(place, kind)


def unknown(place: str, kind: str) -> SpecError:
    """The error for a place that names nothing of the kind, nor of those whose names would do as well."""
    kinds = (kind, *ALSO.get(kind, ()))
    known = [name for each in kinds for name in names(each)]
    name = place.partition(":")[0]
    alike = [] if name in known else near(name, known, NEAR)
    hint = f"did you mean {' or '.join(alike)}? Choose" if alike else "choose"
    wrong = f"unknown {kind_of(kind).noun} {without_credentials(place)!r}"
    if _like_a_path(place) and any(PATH in table_of(each) for each in kinds):
        wrong, hint = f"{wrong}: there is no such file or folder", "choose"
    return SpecError(f"{wrong}; {_meant(place, kinds) or hint} one of: {forms(*kinds)}")


def _meant(place: str, kinds: Collection[str]) -> str:
    """What is likely meant by a place that is written in an unknown form; empty where nothing is."""
    module, _, attribute = place.partition(":")
    if _HOST.fullmatch(place) and any("http" in table_of(each) for each in kinds):
        return f"did you mean http://{place}? Choose"
    parts = [part.strip() for part in place.split("+")]
    if len(parts) > 1 and all(parts) and not {"questions", "tool"}.isdisjoint(kinds):
        return f"several are joined by ' + ': {without_credentials(' + '.join(parts))!r}. Choose"
    if module.isidentifier() and attribute and Path(f"{module}.py").is_file():
        return f"{module}.py is imported with a dot in front of the colon: put it into a folder. Choose"
    return ""


def _like_a_path(place: str) -> bool:
    return ":" not in place and ("/" in place or "\\" in place or bool(Path(place).suffix))


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    found = near(name, known, NEAR)
    return f" (did you mean {found[0]}?)" if found else ""


def _made(kind: str, spec: Spec, found: _Found, context: Mapping[str, Any]) -> Any:
    make = _attribute(found.make) if isinstance(found.make, str) else found.make
    shown = without_credentials(spec.place)
    what = f"the {KINDS[kind].noun} {shown!r}"
    finish, known, common = _common(kind, make, spec)
    options = {key: value for key, value in spec.options.items() if key not in common}
    ready = all(hasattr(make, name) for name in KINDS[kind].has) and KINDS[kind].has
    if not isinstance(make, type) and (ready or not callable(make)):
        if found.place or options:
            raise SpecError(f"{what} is an object that takes no options")
        made = checked(kind, make, shown)
    else:
        made = checked(kind, called(make, what, found.place, options, context, found.form, known), shown)
    return checked(kind, finish(made, **common), shown) if common else made


def _common(kind: str, make: Any, spec: Spec) -> tuple[Any, Iterable[str], dict[str, Any]]:
    """What gives an object its kind's common options, those that its maker lacks, and a spec's of those."""
    if not KINDS[kind].common or not spec.options:
        return None, (), {}
    finish = _attribute(KINDS[kind].common)
    known = dict(list(inspect.signature(finish).parameters.items())[1:])
    with suppress(TypeError, ValueError):
        own = inspect.signature(make).parameters
        known = {key: each for key, each in known.items() if key not in own}
    what = f"the {KINDS[kind].noun} {without_credentials(spec.place)!r}"
    return (
        finish,
        known,
        {
            key: converted(value, known[key], f"{key} of {what}")
            for key, value in spec.options.items()
            if key in known
        },
    )


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
            hint = _did_you_mean(name, dir(thing))
            raise SpecError(f"{module!r} has no {name!r}{hint}, which {text!r} names")
        thing = getattr(thing, name)
    return thing
