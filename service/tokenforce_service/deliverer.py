"""`python -m tokenforce_service.deliverer`: sends webhooks. Start as many as you like.

It has its own process, because it connects to machines of strangers, and the aggregator forks.
"""

from __future__ import annotations

import asyncio
import signal

from redis import Redis

from tokenforce_core.runtime import logs, tracing
from tokenforce_core.scans.store import Store
from tokenforce_service.settings import ServiceSettings
from tokenforce_service.webhooks.post import CheckedClient
from tokenforce_service.webhooks.sender import Sender


def main() -> None:
    settings = ServiceSettings()
    logs.configure(settings.log_format)
    tracing.configure("tokenforce-deliverer")
    asyncio.run(deliver(settings))


async def deliver(settings: ServiceSettings) -> None:
    """Send webhooks until SIGTERM or SIGINT; then finish the attempts under way, which takes seconds."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    connection = Redis.from_url(settings.redis_url, socket_connect_timeout=2, socket_timeout=5)
    store = Store(connection, settings.retention_seconds)
    await Sender(store, CheckedClient(settings.webhook_allow)).run(stop)


if __name__ == "__main__":
    main()
