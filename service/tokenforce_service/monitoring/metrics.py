"""Prometheus metrics: requests of this process as they come; everything else is read from the store at scrape time.

Counters of other processes are in Redis (queues/counters.py), because a scrape reaches one gateway and no worker.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis

from tokenforce.wire.stats import WorkerState
from tokenforce.wire.webhooks import DeliveryStatus
from tokenforce_core.queues import counters
from tokenforce_core.queues.workers import queue_depths, workers
from tokenforce_core.runtime.text_redis import text_redis
from tokenforce_core.scans.store import Store
from tokenforce_service.monitoring.stats import state_of
from tokenforce_service.webhooks.delivery_store import OUTCOMES

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Callers may send any word as a method, and each would become a series of its own."""


@dataclass(frozen=True)
class SharedCounter:
    """A counter of all processes: `counters.count(connection, name, value of the label)` adds to it."""

    name: str
    metric: str
    help: str
    label: str | None = None


SHARED_COUNTERS = (
    SharedCounter(counters.SHARDS, "tokenforce_shards_done", "Shards committed", "kind"),
    SharedCounter(counters.TOKENS, "tokenforce_forward_tokens", "Forward tokens, including those of repeated work"),
    SharedCounter(
        counters.RETRIES, "tokenforce_job_retries", "Jobs that were queued again after they failed or were lost"
    ),
    SharedCounter(counters.ENDED, "tokenforce_scans_ended", "Scans that ended", "status"),
)
"""The shared counters that `/metrics` shows; a new counter needs a line here."""


_OUTCOME_NAMES = {
    DeliveryStatus.pending: "retried",
    DeliveryStatus.delivered: "delivered",
    DeliveryStatus.dead: "dead",
}


class Metrics:
    """One registry per app, so that two apps in one process do not share counts."""

    def __init__(self, store: Store) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "tokenforce_http_requests", "HTTP requests", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "tokenforce_http_request_seconds", "Seconds per HTTP request", ["route"], registry=self.registry
        )
        self.registry.register(_StoreCollector(store))
        self.registry.register(_WebhookCollector(store.connection))

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method if method in METHODS else "other", route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def render(self) -> bytes:
        return generate_latest(self.registry)


class _StoreCollector(Collector):
    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> list[Metric]:
        return []  # nothing is read from Redis at registration

    def collect(self) -> Iterator[Metric]:
        redis = self._store.connection
        depth = GaugeMetricFamily("tokenforce_queue_depth", "Jobs waiting", labels=["queue"])
        running = GaugeMetricFamily("tokenforce_queue_running", "Jobs running", labels=["queue"])
        for queue in queue_depths(redis):
            depth.add_metric([queue.name], queue.waiting)
            running.add_metric([queue.name], queue.running)
        scans = GaugeMetricFamily("tokenforce_active_scans", "Scans that have not ended", labels=["status"])
        for status, number in self._store.index.count().items():
            if not status.final:
                scans.add_metric([status.value], number)
        registered = workers(redis)
        count = GaugeMetricFamily("tokenforce_workers", "Registered RQ workers, including the aggregator")
        count.add_metric([], len(registered))
        engines = GaugeMetricFamily("tokenforce_engines", "Workers with an engine, by state", labels=["state"])
        states = Tally(state_of(worker) for worker in registered if not worker.control)
        for state in WorkerState:
            engines.add_metric([state.value], states[state])
        rate = GaugeMetricFamily("tokenforce_tokens_per_second", "Forward tokens per second over the last five minutes")
        rate.add_metric([], counters.tokens_per_second(redis))
        yield from (depth, running, scans, count, engines, rate)
        yield from _shared_counters(counters.totals(redis))


def _shared_counters(totals: Mapping[tuple[str, str | None], int]) -> Iterator[Metric]:
    for shared in SHARED_COUNTERS:
        labels = [] if shared.label is None else [shared.label]
        family = CounterMetricFamily(shared.metric, shared.help, labels=labels)
        if shared.label is None:
            family.add_metric([], totals.get((shared.name, None), 0))
        for (name, value), number in sorted(totals.items(), key=str):
            if name == shared.name and value is not None and shared.label is not None:
                family.add_metric([value], number)
        yield family


class _WebhookCollector(Collector):
    """Attempts to send webhooks by outcome, read from the store at scrape time."""

    def __init__(self, connection: Redis) -> None:
        self._redis = text_redis(connection)

    def describe(self) -> list[Metric]:
        return []  # nothing is read from Redis at registration

    def collect(self) -> Iterator[Metric]:
        counted = self._redis.hgetall(OUTCOMES)
        attempts = CounterMetricFamily(
            "tokenforce_webhook_attempts", "Attempts to send a webhook, by outcome", labels=["outcome"]
        )
        for status, name in _OUTCOME_NAMES.items():
            attempts.add_metric([name], float(counted.get(status.value, 0)))
        yield attempts
