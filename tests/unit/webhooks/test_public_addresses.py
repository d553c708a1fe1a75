"""Where a webhook may go: every known way to write or to hide a private address is refused."""

from __future__ import annotations

import asyncio
import socket
import time
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.refusals import Refusal
from tokenforce_service.webhooks import receiver_url
from tokenforce_service.webhooks.public_addresses import may_be_called
from tokenforce_service.webhooks.receiver_url import NotAllowed, Reach, addresses, check

PRIVATE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.8.8.8",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
]
PRIVATE_6 = [
    "::",
    "::1",
    "::127.0.0.1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:0808:0808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1111%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001:800::200e"]
V4 = st.ip_addresses(v=4)


@pytest.mark.parametrize("text", PRIVATE + PRIVATE_6)
def test_what_is_not_public_is_refused(text: str) -> None:
    assert not may_be_called(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_may_be_called(text: str) -> None:
    assert may_be_called(ip_address(text))


@given(V4)
def test_an_ipv4_address_inside_an_ipv6_one_is_judged_as_itself(address: IPv4Address) -> None:
    alone = may_be_called(address)
    for prefix in ("::ffff:0:0", "64:ff9b::"):
        hidden = IPv6Address(int(IPv6Address(prefix)) | int(address))
        assert may_be_called(hidden) == alone
    for hidden_where_nothing_is_served in (int(address), 0x2002 << 112 | int(address) << 80):
        assert not may_be_called(IPv6Address(hidden_where_nothing_is_served))


@given(st.ip_addresses())
def test_nothing_reserved_passes(address: IPv4Address | IPv6Address) -> None:
    if may_be_called(address):
        unmapped = getattr(address, "ipv4_mapped", None) or address
        assert unmapped.is_global
        assert not unmapped.is_multicast


@given(st.sampled_from(PRIVATE), st.integers(0, 32))
def test_the_operator_opens_a_range_and_nothing_else(text: str, length: int) -> None:
    address = IPv4Address(text)
    allowed = [ip_network(f"{text}/{length}", strict=False)]
    assert may_be_called(address, allowed)
    assert may_be_called(IPv6Address(f"::ffff:{text}"), allowed)
    beyond = IPv4Address(int(address) ^ (1 << 31))
    if length and not may_be_called(beyond):
        assert not may_be_called(beyond, allowed)


def test_a_range_of_ipv4_does_not_open_the_way_through_nat64() -> None:
    assert not may_be_called(IPv6Address("64:ff9b::10.0.0.1"), [ip_network("10.0.0.0/8")])


# --- URLs ---------------------------------------------------------------------------------------------


def checked(url: str, reach: Reach | None = None) -> None:
    asyncio.run(check(url, reach or Reach()))


def answering(*addresses: str) -> Any:
    """A resolver in which every name has these addresses."""

    def getaddrinfo(host: str, port: int | None, *_: Any, **__: Any) -> list[Any]:
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        family = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [(family[ip_address(a).version], socket.SOCK_STREAM, 6, "", (a, port or 0)) for a in addresses]

    return getaddrinfo


@pytest.fixture
def public_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answering("1.1.1.1"))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://example.com/", "https://"),
        ("ftp://example.com/", "https://"),
        ("file:///etc/passwd", "https://"),
        ("gopher://example.com/", "https://"),
        ("//example.com/", "https://"),
        ("example.com", "https://"),
        ("https://", "no host"),
        ("https:///path", "no host"),
        ("https://user:pw@example.com/", "user name or password"),
        ("https://user@example.com/", "user name or password"),
        ("https://example.com#x", "fragment"),
        ("https://example.com@127.0.0.1/", "user name or password"),
        ("https://example.com:22/", "port 22"),
        ("https://example.com:0/", "port 0"),
        ("https://example.com:25/", "port 25"),
        ("https://example.com:99999/", "port 99999"),
        ("https://example.com:port/", "not a URL"),
        ("https://exa mple.com/", "spaces"),
        ("https://example.com/\r\nHost: x", "spaces"),
        ("https://example.com\\@127.0.0.1/", "backslashes"),
        ("https://１２７.0.0.1/", "non-ASCII"),
        ("https://ⓛocalhost/", "non-ASCII"),
        ("https://2130706433/", "unusual form"),
        ("https://0x7f000001/", "unusual form"),
        ("https://0x7f.1/", "unusual form"),
        ("https://127.1/", "unusual form"),
        ("https://017700000001/", "unusual form"),
        ("https://0177.0.0.1/", "not a URL"),
        ("https://127.0.0.1./", "unusual form"),
        ("https://127.0.0.1/", "public addresses"),
        ("https://[::1]/", "public addresses"),
        ("https://[::ffff:127.0.0.1]/", "public addresses"),
        ("https://[::ffff:7f00:1]/", "public addresses"),
        ("https://[64:ff9b::a9fe:a9fe]/", "public addresses"),
        ("https://[2002:7f00:1::]/", "public addresses"),
        ("https://[fe80::1%25lo]/", "public addresses"),
        ("https://169.254.169.254/latest/meta-data/", "public addresses"),
        ("https://[fd00:ec2::254]/", "public addresses"),
    ],
)
@pytest.mark.usefixtures("public_names")
def test_urls_that_are_refused(url: str, says: str) -> None:
    with pytest.raises(Refusal, match=says) as refused:
        checked(url)
    assert refused.value.code is ErrorCode.webhook_url_refused


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com:443/hooks?token=a%20b",
        "https://EXAMPLE.com:8443/",
        "https://xn--bcher-kva.example/",
        "https://1.1.1.1/",
        "https://[2606:4700::1111]:8443/",
    ],
)
@pytest.mark.usefixtures("public_names")
def test_urls_that_are_accepted(url: str) -> None:
    checked(url)


@pytest.mark.usefixtures("public_names")
def test_plain_http_is_for_the_operator_to_allow() -> None:
    checked("http://example.com/", Reach(http=True))


@pytest.mark.parametrize(
    "found",
    [
        [],
        ["10.0.0.1"],
        ["1.1.1.1", "10.0.0.1"],
        ["10.0.0.1", "1.1.1.1"],
        ["1.1.1.1", "::1"],
        ["1.1.1.1", "::ffff:169.254.169.254"],
        ["2606:4700::1111", "fe80::1%eth0"],
    ],
)
def test_one_private_address_refuses_the_name(found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answering(*found))
    with pytest.raises(Refusal, match="public addresses only") as refused:
        checked("https://inner.example/")
    assert not any(address in refused.value.detail for address in found)  # it would map the operator's network


@pytest.mark.parametrize("slow", [True, False])
def test_a_name_server_that_does_not_answer_refuses_nothing_for_good(
    monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    """A 422 would be kept for a day under the Idempotency-Key; 5xx are not."""

    def silent(*_: Any, **__: Any) -> list[Any]:
        if slow:
            time.sleep(0.3)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    monkeypatch.setattr(receiver_url, "LOOKUP_SECONDS", 0.1)
    with pytest.raises(Refusal, match="does not answer") as refused:
        checked("https://known.example/")
    assert (refused.value.code, refused.value.status) == (ErrorCode.name_lookup_failed, 503)


def test_the_allowed_range_counts_for_names_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answering("10.0.0.1", "1.1.1.1"))
    checked("https://inner.example/", Reach([ip_network("10.0.0.0/8")]))
    with pytest.raises(Refusal):
        checked("https://inner.example/", Reach([ip_network("10.0.1.0/24")]))


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f.1", "0177.0.0.1", "a..b", "x" * 300])
def test_what_the_resolver_itself_makes_of_odd_names_is_checked(host: str) -> None:
    """The guard at the connection, which sees the host after all parsing: with the real resolver."""
    with pytest.raises(NotAllowed):
        asyncio.run(addresses(host, ()))
