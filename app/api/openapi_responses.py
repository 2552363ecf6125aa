"""Documents `POST /v1/responses`, which is no FastAPI route, in the OpenAPI schema."""

from __future__ import annotations

from app.api.routes.responses import PATH
from app.protocol.json_types import JsonObject
from app.protocol.responses.body import body_schema

_PREFIX = "Responses"
"""Before the names of schemas: chat has a `StreamOptions` too."""


def add_responses(document: JsonObject, error: JsonObject) -> None:
    """Add the path and its schemas to an OpenAPI document; `error` is the schema of an error."""
    body = body_schema(f"#/components/schemas/{_PREFIX}{{model}}")
    own = {f"{_PREFIX}{name}": each for name, each in body.pop("$defs", {}).items()}
    document.setdefault("components", {}).setdefault("schemas", {}).update(own)
    document["paths"][PATH] = {
        "post": {
            "tags": ["responses"],
            "summary": "Answer a conversation as a response, streamed or whole",
            "operationId": "create_response",
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": {
                "200": {
                    "description": "A `response`, or a stream of its typed events",
                    "content": {
                        "application/json": {"schema": {"type": "object"}},
                        "text/event-stream": {"schema": {"type": "string"}},
                    },
                },
                "default": {
                    "description": "OpenAI's error object",
                    "content": {"application/json": {"schema": error}},
                },
            },
        }
    }
