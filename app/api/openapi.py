"""Documents the chat endpoint, which is no FastAPI route, in the OpenAPI schema."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.api.openapi_answers import complete
from app.api.openapi_messages import add_messages
from app.api.openapi_posts import add_posts
from app.api.openapi_responses import add_responses
from app.api.openapi_rules import add_rules
from app.api.routes.chat import PATH
from app.protocol.chat_body import body_schema
from app.protocol.json_types import JsonObject

_REF = "#/components/schemas/{model}"


def schema_of(app: FastAPI) -> Callable[[], JsonObject]:
    """What replaces `app.openapi`; made once, on the first request for it."""

    def openapi() -> JsonObject:
        if app.openapi_schema is None:
            app.openapi_schema = _build(app)
        return app.openapi_schema

    return openapi


def _build(app: FastAPI) -> JsonObject:
    document: JsonObject = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)  # refusals have OpenAI's shape and status
    body = body_schema(_REF)
    schemas = document.get("components", {}).get("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    document["components"] = {"schemas": {**schemas, **body.pop("$defs", {})}}
    document["paths"][PATH] = {
        "post": {
            "tags": ["chat"],
            "summary": "Answer a conversation, streamed or whole",
            "operationId": "create_chat_completion",
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": {
                "200": {
                    "description": "A `chat.completion`, or a stream of `chat.completion.chunk`",
                    "content": {
                        "application/json": {"schema": {"type": "object"}},
                        "text/event-stream": {"schema": {"type": "string"}},
                    },
                },
                "default": {
                    "description": "OpenAI's error object",
                    "content": {"application/json": {"schema": _error_schema()}},
                },
            },
        }
    }
    add_messages(document)
    add_responses(document, _error_schema())
    add_posts(document)
    complete(document, _error_schema())
    add_rules(document)
    return document


def _error_schema() -> JsonObject:
    text = {"type": "string"}
    nullable = {"type": ["string", "null"]}
    fields = {"message": text, "type": text, "param": nullable, "code": nullable}
    error = {"type": "object", "properties": fields, "required": list(fields)}
    return {"type": "object", "properties": {"error": error}, "required": ["error"]}
