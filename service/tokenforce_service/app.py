"""The gateway's app: wiring, nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from redis import Redis

from tokenforce_core.fingerprints.store import FingerprintStore
from tokenforce_core.scans.store import Store
from tokenforce_service.access.callers import KeyRing
from tokenforce_service.access.key_routes import router as key_routes
from tokenforce_service.access.rate_limits import RateLimited, RateLimits
from tokenforce_service.fingerprints.routes import router as fingerprint_routes
from tokenforce_service.http import errors, idempotency
from tokenforce_service.http.dependencies import provide
from tokenforce_service.http.idempotency_store import IdempotencyStore
from tokenforce_service.http.openapi import DocumentedApp
from tokenforce_service.http.request_limits import BodyLimit
from tokenforce_service.monitoring.metrics import Metrics
from tokenforce_service.monitoring.requests import Observed
from tokenforce_service.monitoring.routes import router as health_routes
from tokenforce_service.monitoring.stats import router as stats_routes
from tokenforce_service.scans import event_routes
from tokenforce_service.scans.event_streams import EventStreams
from tokenforce_service.scans.routes import router as scan_routes
from tokenforce_service.settings import ServiceSettings
from tokenforce_service.upload_hooks.receiving_routes import router as receiving_routes
from tokenforce_service.upload_hooks.routes import router as upload_hook_routes
from tokenforce_service.upload_hooks.store import HookStore
from tokenforce_service.webhooks.delivery_routes import router as delivery_routes
from tokenforce_service.webhooks.delivery_store import DeliveryStore
from tokenforce_service.webhooks.endpoint_routes import router as endpoint_routes
from tokenforce_service.webhooks.endpoint_store import EndpointStore

ROUTERS = (
    scan_routes,
    fingerprint_routes,
    key_routes,
    endpoint_routes,
    delivery_routes,
    event_routes.router,
    stats_routes,
    receiving_routes,
    upload_hook_routes,
    health_routes,
)


def create_app(settings: ServiceSettings, connection: Redis | None = None) -> FastAPI:
    """The app with these settings. `connection` replaces the Redis of the settings in tests."""
    if connection is None:
        connection = Redis.from_url(settings.redis_url, socket_connect_timeout=2, socket_timeout=5)
    store = Store(connection, settings.retention_seconds)
    keys, limits, answers = KeyRing(connection), RateLimits(connection, settings), IdempotencyStore(connection)
    metrics = Metrics(store)
    streams = EventStreams(settings.redis_url, settings.streams_per_key)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await streams.close()

    app = DocumentedApp(
        title="tokenforce",
        lifespan=lifespan,
        version=version("tokenforce"),
        description="Finds texts hidden in the weights of a language model. Errors are RFC 9457 problem documents.",
    )
    provide(
        app,
        *(settings, store, keys, limits, answers, metrics, streams),
        *(FingerprintStore(connection), HookStore(connection), EndpointStore(connection), DeliveryStore(connection)),
    )
    for router in ROUTERS:
        app.include_router(router)
    errors.install(app)
    errors.handle(app, event_routes.NothingToCome, event_routes.nothing_to_come)
    errors.handle(app, idempotency.Replayed, idempotency.replay)
    app.add_middleware(idempotency.KeepsAnswers, store=answers)
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes, seconds=settings.receive_seconds)
    app.add_middleware(RateLimited, limits=limits, known=keys.knows)
    app.add_middleware(Observed, metrics=metrics)
    return app
