"""Which specs may come out of a file."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from igpo_gym.errors import SpecError
from igpo_gym.specs.grammar import Spec, joined, listed, parts
from igpo_gym.specs.registry import ALSO, KINDS, PATH, Entry, exists, kind_of, registered_in, table_of
from igpo_gym.text import without_credentials


def from_file(kind: str, spec: str, file: str | Path, *, trusted: bool = False) -> str:
    """A spec that was read from a file, if what it names may be named there: the one way for such specs in.

    That is what is registered, files that exist, and URLs. What can run code, or fetches from the hub, is
    taken from code and from this process's command line only: SpecError names it, unless the same text stands
    on the command line, or all is ``trusted`` (the option ``--trust-imports``).
    """
    if not isinstance(spec, str):
        raise SpecError(f"{file} names as {kind_of(kind).noun} what is no text: {spec!r:.60}")
    for part in _parts(kind, spec):
        if trusted or _on_the_command_line(spec) or _on_the_command_line(part):
            continue
        kinds = (kind, *ALSO.get(kind, ()))
        parsed = Spec.parse(part)
        place = parsed.place
        entry = next((table_of(each)[name] for each in kinds if (name := registered_in(each, place))), None)
        if entry and entry.parts:
            for inner in parts(place.partition(":")[2]):
                from_file(kind, inner, file)
            continue
        path = any(PATH in table_of(each) for each in kinds) and exists(place)
        if _runs_code(entry, parsed) if entry else not path:
            raise SpecError(
                f"{file} names the {KINDS[kind].noun} {without_credentials(part)!r}, which is neither "
                "registered, nor a file, nor a URL; if you trust it, name it on the command line, or give "
                "--trust-imports"
            )
    return spec


def _runs_code(entry: Entry, spec: Spec) -> bool:
    code = entry.runs_code
    return code(replace(spec, place=spec.place.partition(":")[2])) if callable(code) else code


def _parts(kind: str, spec: str) -> Iterator[str]:
    """The specs in a text that may join several."""
    if kind not in ("metric", "reward", "estimator"):
        yield from joined(spec)
        return
    # These have parameters in parentheses, some of which name a metric or an estimator in turn.
    for called in listed(spec) if kind == "metric" else re.split(r"\s[+-]\s", spec):
        name, _, inside = called.partition("(")
        yield name.rpartition("*")[2].strip()
        yield from (value.strip() for value in re.split(r"[(),=]", inside) if ":" in value)


def _on_the_command_line(text: str) -> bool:
    return any(text in (given, given.partition("=")[2]) for given in sys.argv[1:])
