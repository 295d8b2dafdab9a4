"""No URL leads the page reader to where only this machine can go, however its host is written."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.search.web.addresses import PageError, addresses, allowed, target

# From each block of IANA's registries of special-purpose addresses that is not globally reachable.
NOT_PUBLIC = (
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254"),
    *("172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.8", "192.0.0.170", "192.0.2.1", "192.88.99.2"),
    *(
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
    ),
    *(
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:2::1",
        "2001:db8::1",
    ),
    *(
        "2001:10::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1"),
)
PUBLIC = ("8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "2001:4860:4860::8888", "::ffff:8.8.8.8")


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_special_addresses_are_not_connected_to(text: str) -> None:
    assert not allowed(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are(text: str) -> None:
    assert allowed(ip_address(text))


@pytest.mark.parametrize(
    "text", ["127.0.0.1", "10.1.2.3", "192.168.0.9", "::1", "fd12::1", "::ffff:10.0.0.1"]
)
def test_private_ones_are_on_demand(text: str) -> None:
    assert allowed(ip_address(text), private=True)
    assert not allowed(ip_address(text))


@pytest.mark.parametrize("text", ["169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "240.0.0.1"])
def test_a_clouds_metadata_is_not_even_on_demand(text: str) -> None:
    assert not allowed(ip_address(text), private=True)


def spellings(address: IPv4Address) -> list[str]:
    """The ways to write an IPv4 address that inet_aton of BSD reads."""
    number = int(address)
    a, b, c, d = address.packed
    return [
        str(address),
        str(number),
        hex(number),
        f"0{number:o}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a}.{number & 0xFFFFFF}",
        f"{a:#x}.{b}.{number & 0xFFFF:#x}",
        f"[::ffff:{address}]",
        f"[::FFFF:{number >> 16:x}:{number & 0xFFFF:x}]",
        f"[64:ff9b::{address}]",
        f"{address}.",
        "".join(chr(ord(each) - ord("0") + ord("０")) if each.isdigit() else each for each in str(address)),
        str(address).replace(".", "。"),
    ]


def reached(url: str) -> list[tuple[str, int]]:
    place = target(url)
    return addresses(place.host, place.port)


SPECIAL_V4 = st.one_of(
    st.sampled_from([ip_address(text) for text in NOT_PUBLIC if ":" not in text]),
    st.ip_addresses(v=4).filter(lambda each: not each.is_global),
    st.ip_addresses(v=4, network="127.0.0.0/8"),
    st.ip_addresses(v=4, network="10.0.0.0/8"),
)


@given(SPECIAL_V4, st.integers(0, 13), st.sampled_from(["http", "HTTPS"]))
def test_no_spelling_of_an_ipv4_address_passes(address: IPv4Address, spelling: int, scheme: str) -> None:
    with pytest.raises(PageError):
        reached(f"{scheme}://{spellings(address)[spelling]}/x")


@given(st.ip_addresses(v=6).filter(lambda each: not each.is_global))
def test_no_ipv6_address_that_is_not_global_passes(address: IPv6Address) -> None:
    with pytest.raises(PageError):
        reached(f"http://[{address}]/")


@given(st.ip_addresses())
def test_what_passes_is_global(address: IPv4Address | IPv6Address) -> None:
    if allowed(address):
        assert address.is_global
        assert not address.is_multicast


def test_a_name_is_judged_by_all_of_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server is the one thing that cannot run here; what it says is given to the real judgment."""

    def known(host: str, port: int, **_: object) -> list[object]:
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, (address, port)) for address in table[host]]

    table = {
        "good.example": ["8.8.8.8"],
        "mixed.example": ["8.8.8.8", "10.0.0.1"],
        "bad.example": ["127.0.0.1"],
    }
    monkeypatch.setattr(socket, "getaddrinfo", known)
    assert addresses("good.example", 80) == [("8.8.8.8", 80)]
    for host in ("mixed.example", "bad.example"):
        with pytest.raises(PageError, match="not a public one"):
            addresses(host, 80)


def test_the_name_of_this_machine_does_not_pass() -> None:
    with pytest.raises(PageError):
        addresses("localhost", 80)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.org/", "http or https"),
        ("file:///etc/passwd", "http or https"),
        ("gopher://example.org/", "http or https"),
        ("//example.org/", "http or https"),
        ("Danzig", "http or https"),
        ("http://me:secret@example.org/", "password"),
        ("http://127.0.0.1@example.org/", "password"),
        ("http://example.org\\@127.0.0.1/", "characters"),
        ("http://example.org/\r\nHost: a", "characters"),
        ("http://exam\tple.org/", "characters"),
        ("http://example.org:8080/", "port 8080"),
        ("http://example.org:22/", "port 22"),
        ("http://example.org:0/", "port 0"),
        ("http://example.org:port/", "cannot be read"),
        ("http://[::1/", "cannot be read"),
        ("http:///path", "no host"),
        ("http://127.0.0.%31/", "no host"),
        ("http://a b/", "no host"),
        ("http://[fe80::1%25eth0]/", "no host"),
        (f"http://{'a' * 70}.org/", "cannot be read"),
    ],
)
def test_urls_that_are_refused_as_they_stand(url: str, reason: str) -> None:
    with pytest.raises(PageError, match=reason):
        target(url)


@given(st.text())
def test_any_text_is_a_target_or_is_refused(text: str) -> None:
    for url in (text, f"http://{text}"):
        try:
            place = target(url)
        except PageError:
            continue
        assert place.port in (80, 443)
        assert "\n" not in place.path + place.authority
        assert (place.path + place.authority).isascii()


def test_a_target_is_sent_as_it_should_be() -> None:
    assert target("https://bücher.example/ä?q=ß#x").authority == "xn--bcher-kva.example"
    assert target("https://bücher.example/ä?q=ß#x").path == "/%C3%A4?q=%C3%9F"
    assert target("http://[2606:4700::1111]/").authority == "[2606:4700::1111]"
    assert target("http://host:8080", frozenset({8080})).origin == "http://host:8080"
