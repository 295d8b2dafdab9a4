"""Domains whose pages are left out of results and are not opened."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from posixpath import normpath
from urllib.parse import unquote, urlsplit

from igpo_gym.errors import SpecError

BENCHMARKS = (
    "hf-mirror.com",
    "hf.co",
    "huggingface.co",
    "kaggle.com/competitions",
    "kaggle.com/datasets",
    "modelscope.ai/datasets",
    "modelscope.cn/datasets",
    "opendatalab.com",
    "paperswithcode.com",
)
"""Where data sets of questions with their answers lie open to search engines."""

LISTS: Mapping[str, tuple[str, ...]] = {"benchmarks": BENCHMARKS, "none": ()}
"""The names that stand for several domains."""

_ENTRY = re.compile(r"(?:[\w-]+\.)+[\w-]+(?:/[\w.~/-]*)?")


@dataclass(frozen=True, slots=True)
class Blocklist:
    """Domains, each with all of its subdomains, and some with the beginning of a path.

    >>> blocked = Blocklist.parse("benchmarks+example.org")
    >>> [url in blocked for url in ("https://www.example.org/a", "https://example.org.uk")]
    [True, False]
    >>> [url in blocked for url in ("http://kaggle.com/datasets/hotpotqa", "http://kaggle.com/learn")]
    [True, False]
    """

    entries: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Blocklist:
        """From domains and names of ``LISTS``, joined by ``+``. Raises SpecError for what is neither."""
        entries: list[str] = []
        for part in text.split("+"):
            name = part.strip().lower().rstrip("/")
            entries += LISTS[name] if name in LISTS else (_entry(name),)
        return cls(tuple(sorted(set(entries))))

    @property
    def domains(self) -> tuple[str, ...]:
        """The entries that are whole domains."""
        return tuple(entry for entry in self.entries if "/" not in entry)

    def __contains__(self, url: object) -> bool:
        host, path = _parts(str(url))
        return any(_matches(host, path, *entry.partition("/")[::2]) for entry in self.entries)


def _parts(url: str) -> tuple[str, str]:
    """Host and path as they mean the same however they are written; nothing for what is no URL."""
    try:
        parts = urlsplit(url)
        host = _ascii(parts.hostname or "").rstrip(".")
    except ValueError:
        return "", ""
    return host, normpath(unquote(parts.path).lower()).strip("/")


def _ascii(host: str) -> str:
    """A host as name servers know it. Raises ValueError for one that they cannot know."""
    return host.encode("idna").decode()


def _entry(name: str) -> str:
    try:
        if _ENTRY.fullmatch(name):
            domain, slash, folder = name.partition("/")
            return f"{_ascii(domain)}{slash}{folder}"
    except ValueError:
        pass
    raise SpecError(
        f"{name!r} in block= is no domain; write domains (example.org, example.org/path) or "
        f"{' or '.join(LISTS)}, joined by +"
    )


def _matches(host: str, path: str, domain: str, folder: str) -> bool:
    if host != domain and not host.endswith(f".{domain}"):
        return False
    return not folder or path == folder or path.startswith(f"{folder}/")


def joined(entries: Sequence[str]) -> str:
    """Entries as the option ``block`` has them.

    >>> joined(["a.org", "b.org"]), joined([])
    ('a.org+b.org', 'none')
    """
    return "+".join(entries) or "none"
