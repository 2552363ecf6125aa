"""`/health/live` and `/health/ready`: for probes, open to everybody, telling nothing else."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api.rights import Anyone, needing
from app.protocol.json_types import JsonObject

router = APIRouter(tags=["health"], route_class=needing(Anyone.OPEN))
DRAINING = "draining"
"""What a server sets in the state of its lifespan when it takes no more connections."""


@router.get("/health/live")
async def live() -> JsonObject:
    """The process answers."""
    return {"status": "live"}


@router.get("/health/ready")
async def ready(request: Request, response: Response) -> JsonObject:
    """200 while there is a model to serve and what that needs is there, and no drain; else 503."""
    services = getattr(request.app.state, "services", None)
    draining = getattr(request.state, DRAINING, False)
    is_able = services is not None and services.runtime().served and services.can_admit()
    if is_able and not draining:
        return {"status": "ready"}
    response.status_code = 503
    return {"status": "not ready"}
