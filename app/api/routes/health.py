"""`/health/live` and `/health/ready`: for probes, open to everybody, telling nothing else."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.protocol.json_types import JsonObject

router = APIRouter(tags=["health"])


@router.get("/health/live")
async def live() -> JsonObject:
    """The process answers."""
    return {"status": "live"}


@router.get("/health/ready")
async def ready(request: Request, response: Response) -> JsonObject:
    """200 once there is a model to serve, else 503."""
    services = getattr(request.app.state, "services", None)
    if services is not None and services.runtime().served:
        return {"status": "ready"}
    response.status_code = 503
    return {"status": "not ready"}
