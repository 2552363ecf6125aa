"""`GET /v1/models` and `GET /v1/models/{id}`: graphs, pools and aliases, by name only."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from app.access.caller import Caller, Right
from app.api import exchange
from app.api.rights import needing
from app.api.services import services
from app.protocol.json_types import JsonObject
from app.protocol.models import model_list, model_object
from app.serving.runtime import Runtime

router = APIRouter(tags=["models"], route_class=needing(Right.CALL))


@router.get("/v1/models")
@router.get("/models", include_in_schema=False)
@router.get("/openai/models", include_in_schema=False)
async def list_models(request: Request) -> JsonObject:
    """All names that the caller may use as `model`."""
    runtime, who = services(request.scope).runtime(), exchange.current(request.scope).who
    return model_list(_entry(runtime, name, who) for name in runtime.names(who))


@router.get("/v1/models/{name:path}")
@router.get("/models/{name:path}", include_in_schema=False)
@router.get("/openai/models/{name:path}", include_in_schema=False)
async def get_model(
    request: Request, name: Annotated[str, Path(description="May contain slashes.")]
) -> JsonObject:
    """One of them; 404 `model_not_found` names the ones there are."""
    who = exchange.current(request.scope).who
    return _entry(services(request.scope).runtime(), name, who)


def _entry(runtime: Runtime, name: str, who: Caller | None) -> JsonObject:
    served = runtime.resolve(name, who)
    return model_object(name, served.created, served.context)
