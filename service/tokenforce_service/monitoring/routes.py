"""Liveness, readiness and metrics."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from tokenforce_core.scans.store import Store
from tokenforce_service.http.openapi import problems
from tokenforce_service.monitoring.metrics import Metrics

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="The process answers")
def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", responses=problems(503), summary="Scans can be accepted: Redis answers")
def readyz(request: Request) -> dict[str, str]:
    cast(Store, request.app.state.store).connection.ping()
    return {"status": "ready"}


@router.get("/metrics", responses=problems(503), summary="Prometheus metrics", response_class=Response)
def metrics(request: Request) -> Response:
    return Response(cast(Metrics, request.app.state.metrics).render(), media_type=CONTENT_TYPE_LATEST)
