"""Prometheus metrics: requests as they come, queues and scans read from the store at scrape."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from rq import Queue
from rq.worker_registration import get_keys

from tokenforce_core.store import Store
from tokenforce_service.webhooks.metrics import CallbackCollector

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Callers may send any word as a method; each would be a series of its own."""


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
        self.registry.register(CallbackCollector(store.connection))

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method if method in _METHODS else "other", route, status).inc()
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
        members: Any = redis.smembers(Queue.redis_queues_keys)
        for key in sorted(members):
            name = key.decode().removeprefix(Queue.redis_queue_namespace_prefix)
            waiting: Any = redis.llen(key)
            started: Any = redis.zcard(f"rq:wip:{name}")  # never `.count`, which would run maintenance
            depth.add_metric([name], waiting)
            running.add_metric([name], started)
        scans = GaugeMetricFamily("tokenforce_active_scans", "Scans not yet final", labels=["status"])
        statuses = Tally(status.value for i in self._store.active() if (status := self._store.status(i)) is not None)
        for value, number in statuses.items():
            scans.add_metric([value], number)
        workers = GaugeMetricFamily("tokenforce_workers", "Registered RQ workers, the aggregator among them")
        workers.add_metric([], len(get_keys(connection=redis)))
        yield from (depth, running, scans, workers)
