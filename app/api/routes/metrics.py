"""`GET /metrics` in Prometheus' text format."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.access.caller import Right
from app.api.paths import METRICS_PATH
from app.api.rights import needing
from app.api.services import services

router = APIRouter(tags=["metrics"], route_class=needing(Right.READ_METRICS))
TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"


@router.get(METRICS_PATH, response_class=Response)
async def metrics(request: Request) -> Response:
    """All metrics of this server."""
    return Response(services(request.scope).metrics(), media_type=TEXT_FORMAT)
