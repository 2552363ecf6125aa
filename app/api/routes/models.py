"""`GET /v1/models` and `GET /v1/models/{id}`: graphs, pools and aliases, by name only."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from app.api.services import services
from app.protocol.json_types import JsonObject
from app.protocol.models import model_list, model_object

router = APIRouter(tags=["models"])


@router.get("/v1/models")
async def list_models(request: Request) -> JsonObject:
    """All names a request may use as `model`."""
    runtime = services(request.scope).runtime()
    return model_list(
        model_object(name, runtime.resolve(name).created)
        for name in [*runtime.served, *runtime.aliases]
    )


@router.get("/v1/models/{name:path}")
async def get_model(
    request: Request, name: Annotated[str, Path(description="May contain slashes.")]
) -> JsonObject:
    """One of them; 404 `model_not_found` names the ones there are."""
    return model_object(name, services(request.scope).runtime().resolve(name).created)
