"""OpenAI's model objects. Says nothing of what stands behind a name."""

from __future__ import annotations

from collections.abc import Iterable

from app.protocol.json_types import JsonObject

OWNER = "moa-gateway"


def model_object(name: str, created: int, context: int | None = None) -> JsonObject:
    """One entry; `created` is in Unix seconds, `context` in tokens, left out where unknown."""
    known: JsonObject = {} if context is None else {"context_length": context}
    return {"id": name, "object": "model", "created": created, "owned_by": OWNER, **known}


def model_list(models: Iterable[JsonObject]) -> JsonObject:
    """The answer of `GET /v1/models`."""
    return {"object": "list", "data": list(models)}
