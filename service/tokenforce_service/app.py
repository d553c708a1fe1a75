"""The gateway's app: wiring, nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from redis import Redis

from tokenforce_core.scans.store import Store
from tokenforce_service.access import routes as keys
from tokenforce_service.access.callers import KeyRing
from tokenforce_service.access.rate_limits import RateLimited, RateLimits
from tokenforce_service.fingerprints import routes as fingerprints
from tokenforce_service.http import errors, idempotency
from tokenforce_service.http.idempotency_store import IdempotencyStore
from tokenforce_service.http.openapi import DocumentedApp
from tokenforce_service.http.slow_requests import BodyLimit
from tokenforce_service.monitoring import routes as health
from tokenforce_service.monitoring import stats
from tokenforce_service.monitoring.metrics import Metrics
from tokenforce_service.monitoring.requests import Observed
from tokenforce_service.scans import event_routes
from tokenforce_service.scans import routes as scans
from tokenforce_service.scans.event_streams import EventStreams
from tokenforce_service.settings import ServiceSettings
from tokenforce_service.upload_hooks import receiving_routes
from tokenforce_service.upload_hooks import routes as registration_routes
from tokenforce_service.webhooks import delivery_routes, endpoint_routes


def create_app(settings: ServiceSettings, connection: Redis | None = None) -> FastAPI:
    """The app on its settings. `connection` replaces the Redis of the settings in tests."""
    if connection is None:
        connection = Redis.from_url(settings.redis_url, socket_connect_timeout=2, socket_timeout=5)
    store = Store(connection, settings.retention_seconds)
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
        description="Finds texts hidden in the weights of a language model. All errors are RFC 9457 problem documents.",
    )
    app.state.settings, app.state.store, app.state.metrics = settings, store, metrics
    app.state.streams = streams
    app.state.keys = KeyRing(connection)
    app.state.rate_limits = RateLimits(connection, settings)
    app.state.idempotency = IdempotencyStore(connection)
    app.include_router(scans.router)
    app.include_router(fingerprints.router)
    app.include_router(keys.router)
    app.include_router(endpoint_routes.router)
    app.include_router(delivery_routes.router)
    app.include_router(event_routes.router)
    app.include_router(stats.router)
    app.include_router(receiving_routes.router)
    app.include_router(registration_routes.router)
    app.include_router(health.router)
    errors.install(app)
    app.add_exception_handler(event_routes.NothingToCome, event_routes.nothing_to_come)
    app.add_exception_handler(idempotency.Replayed, idempotency.replay)
    app.add_middleware(idempotency.KeepsAnswers, store=app.state.idempotency)
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes, seconds=settings.receive_seconds)
    app.add_middleware(RateLimited, limits=app.state.rate_limits, known=app.state.keys.knows)
    app.add_middleware(Observed, metrics=metrics)
    return app
