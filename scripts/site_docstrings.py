"""Docstrings of the package as Markdown, for the site: roles become links, examples become code blocks.

An extension of Griffe, which mkdocs.yml names. It reads the source and imports nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):`~?([^`]+)`")
_EXAMPLE = re.compile(r"^( *)>>> .*(?:\n(?! *$).+)*", re.M)
_LITERAL = re.compile(r"(?m)^(.*)::$")


class Docstrings(griffe.Extension):
    """Rewrites every docstring of a package once, when all of it has been read."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Rewrite the docstrings of ``pkg``."""
        for each in objects(pkg):
            if each.docstring:
                each.docstring.value = markdown(each.docstring.value, each)


def objects(each: griffe.Object) -> Iterator[griffe.Object]:
    """An object and all that is defined in it."""
    yield each
    for member in each.members.values():
        if not member.is_alias:
            yield from objects(member)


def markdown(text: str, owner: griffe.Object) -> str:
    """The docstring of ``owner`` in Markdown."""
    text = _EXAMPLE.sub(lambda found: fenced(found[0], found[1]), text)
    text = _LITERAL.sub(lambda found: f"{found[1]}:" if found[1] else "", text)
    return _ROLE.sub(lambda found: link(found[1], owner), text)


def fenced(example: str, indent: str) -> str:
    """A doctest as a code block."""
    return f"{indent}```pycon\n{example}\n{indent}```"


def link(name: str, owner: griffe.Object) -> str:
    """A link to what ``name`` means where ``owner`` is defined, or the name as code if no page shows it."""
    path = resolved(name.lstrip("."), owner)
    if path is None or any(part.startswith("_") for part in path.split(".")):
        return f"`{name.rpartition('.')[2]}`"
    return f"[`{name.rpartition('.')[2]}`][{path}]"


def resolved(name: str, owner: griffe.Object) -> str | None:
    """The path of what ``name`` means: a path from the package on, or a name of ``owner`` or around it."""
    package = owner.package
    if name.startswith(f"{package.path}."):
        return existing(package, name.removeprefix(f"{package.path}."))
    place: griffe.Object | None = owner
    while place is not None:
        if (path := existing(place, name)) is not None:
            return path
        place = place.parent
    return None


def existing(place: griffe.Object, name: str) -> str | None:
    """The path of the member ``name`` of ``place``, behind an import too; None if there is none."""
    try:
        member = place[name]
        return str(member.final_target.path if member.is_alias else member.path)
    except (KeyError, griffe.AliasResolutionError, griffe.CyclicAliasError):
        return None
