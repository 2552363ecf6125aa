"""Documents Anthropic's addresses, which are no FastAPI routes, in the OpenAPI schema."""

from __future__ import annotations

from collections.abc import Callable

from app.api.routes.messages import COUNT_PATH, PATH
from app.protocol.anthropic.body import messages_schema, prompt_schema
from app.protocol.json_types import JsonObject

_PREFIX = "Anthropic"
"""Before the names of schemas: both wires have a `Tool`."""


def add_messages(document: JsonObject) -> None:
    """Add the paths and their schemas to an OpenAPI document."""
    count: JsonObject = {
        "type": "object",
        "properties": {"input_tokens": {"type": "integer", "minimum": 0}},
        "required": ["input_tokens"],
    }
    stream = {"text/event-stream": {"schema": {"type": "string"}}}
    document["paths"][PATH] = {
        "post": {
            "tags": ["messages"],
            "summary": "Answer a conversation as Anthropic's API does, streamed or whole",
            "operationId": "create_message",
            "requestBody": _request_body(document, messages_schema),
            "responses": _responses("A message, or a stream of its events", {}, stream),
        }
    }
    document["paths"][COUNT_PATH] = {
        "post": {
            "tags": ["messages"],
            "summary": "Estimate the tokens of a prompt without asking a model",
            "operationId": "count_message_tokens",
            "requestBody": _request_body(document, prompt_schema),
            "responses": _responses("The gateway's estimate", count, {}),
        }
    }


def _request_body(document: JsonObject, schema_of: Callable[[str], JsonObject]) -> JsonObject:
    schema = schema_of(f"#/components/schemas/{_PREFIX}{{model}}")
    own = {f"{_PREFIX}{name}": each for name, each in schema.pop("$defs", {}).items()}
    document.setdefault("components", {}).setdefault("schemas", {}).update(own)
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _responses(meaning: str, schema: JsonObject, more: JsonObject) -> JsonObject:
    schema = schema or {"type": "object"}
    return {
        "200": {
            "description": meaning,
            "content": {"application/json": {"schema": schema}, **more},
        },
        "default": {
            "description": "Anthropic's error object",
            "content": {"application/json": {"schema": _error_schema()}},
        },
    }


def _error_schema() -> JsonObject:
    text = {"type": "string"}
    error = {
        "type": "object",
        "properties": {"type": text, "message": text, "details": {"type": "object"}},
        "required": ["type", "message"],
    }
    return {
        "type": "object",
        "properties": {"type": {"const": "error"}, "error": error, "request_id": text},
        "required": ["type", "error", "request_id"],
    }
