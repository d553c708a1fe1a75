"""Callbacks as Prometheus counts them, over all processes that send."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis

from tokenforce.wire.webhooks import DeliveryStatus
from tokenforce_service.webhooks.delivery_store import OUTCOMES

_NAMES = {DeliveryStatus.pending: "retried", DeliveryStatus.delivered: "delivered", DeliveryStatus.dead: "dead"}


class CallbackCollector(Collector):
    """Attempts by what came of them, read from the store at scrape."""

    def __init__(self, connection: Redis) -> None:
        self._connection = connection

    def describe(self) -> list[Metric]:
        return []  # nothing is read from Redis at registration

    def collect(self) -> Iterator[Metric]:
        counted = cast("Mapping[bytes, bytes]", self._connection.hgetall(OUTCOMES))
        attempts = CounterMetricFamily(
            "tokenforce_callback_attempts", "Callbacks sent, by what came of it", labels=["outcome"]
        )
        for status, name in _NAMES.items():
            attempts.add_metric([name], float(counted.get(status.value.encode(), 0)))
        yield attempts
