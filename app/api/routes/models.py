"""`GET /v1/models` and `GET /v1/models/{id}`: graphs, pools and aliases, by name only."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from app.api import exchange
from app.api.services import services
from app.protocol.json_types import JsonObject
from app.protocol.models import model_list, model_object
from app.serving.runtime import Runtime

router = APIRouter(tags=["models"])


@router.get("/v1/models")
@router.get("/models", include_in_schema=False)
@router.get("/openai/models", include_in_schema=False)
async def list_models(request: Request) -> JsonObject:
    """All names that the caller may use as `model`."""
    runtime = services(request.scope).runtime()
    names = runtime.names(exchange.current(request.scope).caller)
    return model_list(_entry(runtime, name) for name in names)


@router.get("/v1/models/{name:path}")
@router.get("/models/{name:path}", include_in_schema=False)
@router.get("/openai/models/{name:path}", include_in_schema=False)
async def get_model(
    request: Request, name: Annotated[str, Path(description="May contain slashes.")]
) -> JsonObject:
    """One of them; 404 `model_not_found` names the ones there are."""
    return _entry(services(request.scope).runtime(), name)


def _entry(runtime: Runtime, name: str) -> JsonObject:
    served = runtime.resolve(name)
    return model_object(name, served.created, served.context)
