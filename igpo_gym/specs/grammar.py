"""The form of a spec: ``place#key=value,key=value``, joined by " + "."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from igpo_gym.errors import SpecError
from igpo_gym.text import without_credentials


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


def parts(place: str) -> list[str]:
    """The specs that commas join in the place of a spec that is made of others.

    In each of them a ',' is written %2C, a '#' %23, and a '%' %25.

    >>> parts("bm25:wiki,dense:vectors%23nprobe=64%2Cdevice=cpu")
    ['bm25:wiki', 'dense:vectors#nprobe=64,device=cpu']
    """
    return [_WITHIN.sub(lambda found: unquote(found[0]), part.strip()) for part in place.split(",")]


_WITHIN = re.compile("%(?:23|25|2[Cc])")
"""The signs of the grammar, as they are written in a spec within another."""


def joined(text: str) -> list[str]:
    """The specs that " + " joins into one.

    >>> joined("world:test + jsonl:mine.jsonl")
    ['world:test', 'jsonl:mine.jsonl']
    """
    return [part.strip() for part in re.split(r"\s\+\s", text)]


def listed(text: str) -> list[str]:
    """The names that commas join into one; those within parentheses part parameters.

    >>> listed("em, f1(metric=igpo,weight=2)")
    ['em', 'f1(metric=igpo,weight=2)']
    """
    return [part.strip() for part in re.split(r",(?![^()]*\))", text)]
