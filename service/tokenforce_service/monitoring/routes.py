"""Liveness, readiness and metrics."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from tokenforce_service.http.dependencies import TheStore, provided
from tokenforce_service.http.openapi import problems
from tokenforce_service.monitoring.metrics import Metrics

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Check that the process answers")
def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", responses=problems(503), summary="Check that Redis answers, so that scans can be accepted")
def readyz(store: TheStore) -> dict[str, str]:
    store.connection.ping()
    return {"status": "ready"}


@router.get("/metrics", responses=problems(503), summary="Get Prometheus metrics", response_class=Response)
def metrics(metrics: Annotated[Metrics, provided(Metrics)]) -> Response:
    return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)
