"""One POST on real sockets: to the checked address only, never longer than the deadline, never more than it reads."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import socket
import ssl
import time
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.receiver import Wire, on_the_wire, receiving
from tokenforce_service.webhooks.post import EXCERPT_CHARACTERS, READ_BYTES, CheckedClient, Reply

LOOPBACK = [ip_network("127.0.0.0/8")]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


def post(url: str, allowed: Any = LOOPBACK, tls: ssl.SSLContext | None = None, body: bytes = b"{}") -> Reply:
    return asyncio.run(CheckedClient(allowed, tls).post(url, {"X-Test": "1"}, body))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Names get these addresses, one list per look-up; returns the names that were looked up."""

    def script(*rounds: list[str]) -> list[str]:
        asked: list[str] = []

        def getaddrinfo(host: str, port: Any, *_: Any, **__: Any) -> list[Any]:
            found = rounds[min(len(asked), len(rounds) - 1)]
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port or 0)) for address in found]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return script


def test_what_arrives() -> None:
    with receiving() as receiver:
        reply = post(receiver.url + "/a%20b/?token=x%2Fy", body=b'{"a":1}')
        (request,) = receiver.received
    assert (reply.status, reply.error, reply.excerpt) == (200, None, None)
    assert (request.path, request.body) == ("/a%20b/?token=x%2Fy", b'{"a":1}')
    assert request.headers == {
        "host": receiver.url.removeprefix("http://"),
        "accept-encoding": "identity",
        "x-test": "1",
        "content-length": "7",
    }


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0", "[::ffff:127.0.0.1]"])
def test_loopback_is_not_reached_whatever_it_is_called(host: str) -> None:
    with on_the_wire(lambda wire, connection: wire.send(connection, OK)) as wire:
        reply = post(f"http://{host}:{wire.port}/", allowed=())
        assert reply.status is None
        assert "public addresses only" in str(reply.error)
    assert wire.connections == 0


def test_a_name_that_leads_elsewhere_by_now_is_not_followed(names: Callable[..., list[str]]) -> None:
    """Rebinding: what the connection uses is what was checked; there is no second look-up to answer otherwise."""
    with receiving() as receiver:
        port = receiver.url.rpartition(":")[2]
        asked = names(["127.0.0.1"], ["169.254.169.254"])
        assert post(f"http://rebinding.example:{port}/").status == 200
        assert asked == ["rebinding.example"]
        assert receiver.received[0].headers["host"] == f"rebinding.example:{port}"
        reply = post(f"http://rebinding.example:{port}/")  # the next attempt looks it up again
        assert "public addresses only" in str(reply.error)
    assert len(receiver.received) == 1


def test_one_private_address_among_several_is_one_too_many(names: Callable[..., list[str]]) -> None:
    with receiving() as receiver:
        names(["127.0.0.1", "10.0.0.1"])
        reply = post(f"http://two.example:{receiver.url.rpartition(':')[2]}/")
    assert "public addresses only" in str(reply.error)
    assert receiver.received == []


def test_the_second_address_is_tried_when_the_first_is_closed(names: Callable[..., list[str]]) -> None:
    with receiving() as receiver:
        names(["127.0.0.2", "127.0.0.1"])
        assert post(f"http://two.example:{receiver.url.rpartition(':')[2]}/").status == 200


def test_no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_the_wire(lambda wire, connection: wire.send(connection, OK)) as proxy, receiving() as receiver:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert post(receiver.url).status == 200
    assert proxy.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    with receiving() as receiver, receiving() as secret:
        for target in (secret.url, "http://169.254.169.254/latest/meta-data/", "//127.0.0.1/", "file:///etc/passwd"):
            receiver.script.append((status, {"Location": target}))
            reply = post(receiver.url)
            assert (reply.status, reply.excerpt) == (status, f"answer {status}")
    assert len(receiver.received) == 4
    assert secret.received == []


def test_retry_after_is_handed_on() -> None:
    with receiving() as receiver:
        receiver.script.append((429, {"Retry-After": "7"}))
        assert post(receiver.url).retry_after == "7"


# --- hostile answers ----------------------------------------------------------------------------------


def drip_headers(wire: Wire, connection: socket.socket) -> None:
    wire.send(connection, b"HTTP/1.1 200 OK\r\n")
    for number in range(1000):
        wire.send(connection, f"x-{number}: 1\r\n".encode())
        time.sleep(0.05)


def drip_body(wire: Wire, connection: socket.socket) -> None:
    wire.send(connection, b"HTTP/1.1 500 No\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(1000):
        wire.send(connection, b".")
        time.sleep(0.05)


def continue_for_ever(wire: Wire, connection: socket.socket) -> None:
    for _ in range(1000):
        wire.send(connection, b"HTTP/1.1 103 Early Hints\r\n\r\n")
        time.sleep(0.05)


def say_nothing(wire: Wire, connection: socket.socket) -> None:
    time.sleep(3)


@pytest.mark.parametrize("handle", [drip_headers, drip_body, continue_for_ever, say_nothing])
def test_a_receiver_that_takes_its_time(
    handle: Callable[[Wire, socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes soon enough, all of them never: the deadline is over everything."""
    monkeypatch.setattr("tokenforce_service.webhooks.post.DEADLINE_SECONDS", 0.6)
    with on_the_wire(handle) as wire:
        started = time.monotonic()
        reply = post(wire.url)
        assert time.monotonic() - started < 3
    assert reply.status is None
    assert "within 0.6 s" in str(reply.error)


def test_a_slow_name_server_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenforce_service.webhooks.post.DEADLINE_SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(1))
    assert "within 0.2 s" in str(post("http://slow.example/").error)


def test_a_huge_answer_is_not_read() -> None:
    def flood(wire: Wire, connection: socket.socket) -> None:
        wire.send(connection, b"HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(3000):
            wire.send(connection, b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    with on_the_wire(flood) as wire:
        reply = post(wire.url)
    assert (reply.status, reply.excerpt) == (500, "x" * EXCERPT_CHARACTERS)
    assert EXCERPT_CHARACTERS < READ_BYTES < 1 << 16
    assert wire.sent < 32 << 20, "of nearly 200 MB; what left is what the kernel buffered"


def test_a_compressed_bomb_is_not_opened() -> None:
    bomb = gzip.compress(b"\0" * (16 << 20))

    def send(wire: Wire, connection: socket.socket) -> None:
        head = f"HTTP/1.1 500 No\r\ncontent-encoding: gzip\r\ncontent-length: {len(bomb)}\r\n\r\n"
        wire.send(connection, head.encode() + bomb)

    with on_the_wire(send) as wire:
        reply = post(wire.url)
    assert (reply.status, reply.excerpt) == (500, "(compressed)")


def test_an_excerpt_is_fit_to_print() -> None:
    def send(wire: Wire, connection: socket.socket) -> None:
        body = b"\x1b]0;owned\x07\r\n\xff\xe2\x80\xae"
        wire.send(connection, b"HTTP/1.1 400 No\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    with on_the_wire(send) as wire:
        excerpt = post(wire.url).excerpt
    assert excerpt == "\\x1b]0;owned\\x07\\r\\n�\\u202e"


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 two hundred\r\n\r\n", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"a" * 200_000]
)
def test_no_http(answer: bytes) -> None:
    with on_the_wire(lambda wire, connection: wire.send(connection, answer)) as wire:
        reply = post(wire.url)
    assert reply.status is None
    assert str(reply.error).startswith(("RemoteProtocolError: ", "ReadError: "))


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert str(post(f"http://127.0.0.1:{port}/").error).startswith("ConnectError: ")


# --- TLS ----------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate for one name, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def test_tls_is_for_the_name_and_not_for_the_address(tmp_path: Path, names: Callable[..., list[str]]) -> None:
    path = certificate(tmp_path, "receiver.example")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(path)
    asked: list[str | None] = []
    serving.sni_callback = lambda _socket, name, _context: asked.append(name)
    trusting = ssl.create_default_context(cafile=path)
    names(["127.0.0.1"])
    with receiving(serving) as receiver:
        port = receiver.url.rpartition(":")[2]
        assert post(f"https://receiver.example:{port}/", tls=trusting).status == 200
        assert post(f"https://another.example:{port}/", tls=trusting).status is None
        untrusted = post(f"https://receiver.example:{port}/")
    assert asked == ["receiver.example", "another.example", "receiver.example"]
    assert len(receiver.received) == 1
    assert "CERTIFICATE_VERIFY_FAILED" in str(untrusted.error)
