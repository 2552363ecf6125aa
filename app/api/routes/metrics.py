"""`GET /metrics` in Prometheus' text format. Needs the same right as everything else."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api.services import services

router = APIRouter(tags=["metrics"])
TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """All metrics of this server."""
    return Response(services(request.scope).metrics(), media_type=TEXT_FORMAT)
