"""Receivers of webhooks on loopback: one that records and answers as told, and one that misbehaves on the wire."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Received:
    """One webhook as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float


@dataclass
class Receiver:
    """Answers with the scripted (status, headers) in their order, then with 200."""

    url: str = ""
    script: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    seconds: float = 0.0
    """How long each answer takes."""
    most_at_once: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ids(self) -> list[str]:
        return [request.headers["webhook-id"] for request in self.received]

    def answer(self, request: Received) -> tuple[int, dict[str, str]]:
        with self._lock:
            self.received.append(request)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            status, headers = self.script.pop(0) if self.script else (200, {})
        time.sleep(self.seconds)
        with self._lock:
            self._now -= 1
        return status, headers


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver at a free port of 127.0.0.1."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answered = receiver.answer(Received(self.path, headers, body, time.time()))
            content = f"answer {status}".encode()
            with contextlib.suppress(OSError):  # the sender was killed
                self.send_response(status)
                for name, value in {"content-length": str(len(content)), **answered}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None: ...

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None: ...

    server = Quiet(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    receiver.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}"
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Wire:
    """A listening port whose connections a script handles."""

    url: str
    port: int
    connections: int = 0
    sent: int = 0
    """Bytes that left for the sender of the request."""

    def send(self, connection: socket.socket, data: bytes) -> None:
        connection.sendall(data)
        self.sent += len(data)


@contextmanager
def on_the_wire(handle: Callable[[Wire, socket.socket], None]) -> Iterator[Wire]:
    """`handle` is given each connection after the request has begun to arrive."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        port = listener.getsockname()[1]
        wire = Wire(f"http://127.0.0.1:{port}", port)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                wire.connections += 1
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(20)
                    connection.recv(65536)
                    handle(wire, connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield wire
        finally:
            stop.set()
            thread.join()
