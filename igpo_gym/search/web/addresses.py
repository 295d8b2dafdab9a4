"""Which URLs and addresses the page reader may connect to.

A page comes from whoever a search engine shows. Nothing on it may reach what only this machine can reach: a
service on loopback, a machine of the local network, a cloud's metadata. So a host is resolved once, each of
its addresses is judged, and the connection is made to the very address that was judged.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TypeAlias
from urllib.parse import urlsplit

from requests.utils import requote_uri

Address: TypeAlias = IPv4Address | IPv6Address

PORTS = frozenset({80, 443})
"""The ports of the web; others are allowed by an option."""

_SCHEMES = {"http": 80, "https": 443}
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?")
_UNICAST = ip_network("2000::/3")
_NAT64 = ip_network("64:ff9b::/96")
_SPECIAL = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20")))
"""What some versions of Python call global, and IANA's registries of special addresses do not."""


class PageError(Exception):
    """A page that is not read, with the reason; ``status`` is that of the answer that decided, if any."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Target:
    """An HTTP URL in its parts."""

    secure: bool
    host: str
    port: int
    path: str
    """Path and query, as they are sent."""

    @property
    def authority(self) -> str:
        """Host and port, as the header Host has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _SCHEMES["https" if self.secure else "http"] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """The URL of the site's root, without a slash at its end."""
        return f"http{'s' * self.secure}://{self.authority}"


def target(url: str, ports: frozenset[int] = PORTS) -> Target:
    """The parts of a URL that the page reader may ask for, as far as the URL tells.

    Raises PageError for another scheme than HTTP, a user or password, a port that is not allowed, and what is
    no URL.

    >>> target("https://Example.org/a b?c=ü#top")
    Target(secure=True, host='example.org', port=443, path='/a%20b?c=%C3%BC')
    """
    if not url.isprintable() or "\\" in url:
        raise PageError("its URL has characters that no URL has")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode()
    except (ValueError, UnicodeError):
        raise PageError("its URL cannot be read") from None
    if parts.scheme not in _SCHEMES:
        raise PageError("its URL is not one of http or https")
    if "@" in parts.netloc:
        raise PageError("its URL holds a user or a password")
    if not (_NAME.fullmatch(host) or _is_ipv6(host)):
        raise PageError("its URL names no host")
    port = _SCHEMES[parts.scheme] if port is None else port
    if port not in ports:
        raise PageError(f"its port {port} is not allowed")
    path = requote_uri(f"{parts.path or '/'}{'?' * bool(parts.query)}{parts.query}")
    return Target(parts.scheme == "https", host, port, path)


def addresses(host: str, port: int, private: bool = False) -> list[tuple[str, int]]:
    """The addresses of a host, all of which the page reader may connect to.

    Raises PageError if one of them may not be connected to, and if there is none.

    >>> addresses("0x7f.1", 80)
    Traceback (most recent call last):
    igpo_gym.search.web.addresses.PageError: its address is not a public one
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise PageError("its host is not known") from None
    texts = list(dict.fromkeys(str(place[0]) for *_, place in found))
    if not all(allowed(ip_address(text.partition("%")[0]), private) for text in texts):
        raise PageError("its address is not a public one")
    return [(text, port) for text in texts]


def allowed(address: Address, private: bool = False) -> bool:
    """Whether the page reader may connect to an address: to a public one, and to a ``private`` one on demand.

    Multicast, link-local, reserved and unspecified addresses are never allowed: a cloud's metadata is at a
    link-local one. An IPv6 address that stands for an IPv4 address (mapped, NAT64)
    is judged as that, and one of 6to4, which Pythons do not agree about, is no public one.

    >>> from ipaddress import ip_address
    >>> [allowed(ip_address(text)) for text in ("8.8.8.8", "10.0.0.1", "::ffff:127.0.0.1")]
    [True, False, False]
    >>> allowed(ip_address("10.0.0.1"), private=True), allowed(ip_address("169.254.169.254"), private=True)
    (True, False)
    """
    if isinstance(address, IPv6Address) and (inner := _within(address)) is not None:
        return allowed(inner, private)
    if address.is_multicast or address.is_link_local or address.is_unspecified:
        return False
    if address.is_reserved and not address.is_loopback:
        return False
    if private and (address.is_private or address.is_loopback):
        return True
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return False
    return address.is_global and not any(address in network for network in _SPECIAL)


def _within(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped


def _is_ipv6(host: str) -> bool:
    try:
        return isinstance(ip_address(host), IPv6Address) and "%" not in host
    except ValueError:
        return False
