"""OpenAI's model objects. Says nothing of what stands behind a name."""

from __future__ import annotations

from collections.abc import Iterable

from app.protocol.json_types import JsonObject

OWNER = "moa-gateway"


def model_object(name: str, created: int) -> JsonObject:
    """One entry; `created` is in Unix seconds."""
    return {"id": name, "object": "model", "created": created, "owned_by": OWNER}


def model_list(models: Iterable[JsonObject]) -> JsonObject:
    """The answer of `GET /v1/models`."""
    return {"object": "list", "data": list(models)}
