"""The sender of webhooks in a thread of the test, or in processes of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network, IPv6Network

from redis import Redis

from tokenforce_core.scans.store import Store
from tokenforce_service.webhooks.post import CheckedClient
from tokenforce_service.webhooks.sender import Sender

LOOPBACK: list[IPv4Network | IPv6Network] = [IPv4Network("127.0.0.0/8")]

_PROCESS = """
from tokenforce_service import deliverer
from tokenforce_service.webhooks import delivery_store
delivery_store.LEASE_SECONDS = 1.0
deliverer.main()
"""


@contextmanager
def sending(redis: Redis) -> Iterator[None]:
    """A sender that may call loopback, on connections of its own; it finishes what is under way at the end."""
    connection = Redis(connection_pool=redis.connection_pool)
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    sender = Sender(Store(connection), CheckedClient(LOOPBACK))

    def run() -> None:
        loop.run_until_complete(sender.run(stop))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        assert not thread.is_alive(), "the sender does not end"


@contextmanager
def deliverer(redis_url: str) -> Iterator[subprocess.Popen[bytes]]:
    """The real process, with leases of a second."""
    environment = {**os.environ, "REDIS_URL": redis_url, "TOKENFORCE_WEBHOOK_ALLOW": json.dumps([str(LOOPBACK[0])])}
    child = subprocess.Popen([sys.executable, "-c", _PROCESS], env=environment, stderr=subprocess.PIPE)
    assert child.stderr is not None
    try:
        yield child
    finally:
        child.terminate()
        child.communicate(timeout=30)
