"""Documents `POST /v1/completions` and `POST /v1/embeddings`, which are no FastAPI routes."""

from __future__ import annotations

from app.api.routes import embeddings, text_completions
from app.protocol.embeddings import embeddings_schema
from app.protocol.json_types import JsonObject
from app.protocol.text_request import text_schema

_REF = "#/components/schemas/{model}"


def add_posts(document: JsonObject) -> None:
    """Add both to a schema, and what their bodies are made of."""
    chat = document["paths"]["/v1/chat/completions"]["post"]
    _add(
        document,
        text_completions.PATH,
        text_schema(_REF),
        {
            "tags": ["chat"],
            "summary": "Complete prompts (legacy), streamed or whole",
            "operationId": "create_completion",
            "responses": {
                **chat["responses"],
                "200": {
                    **chat["responses"]["200"],
                    "description": "A `text_completion`, or a stream of them",
                },
            },
        },
    )
    _add(
        document,
        embeddings.PATH,
        embeddings_schema(_REF),
        {
            "tags": ["embeddings"],
            "summary": "Turn texts or tokens into vectors",
            "operationId": "create_embedding",
            "responses": {
                **chat["responses"],
                "200": {
                    "description": "A list of embeddings",
                    "content": {"application/json": {"schema": {"type": "object"}}},
                },
            },
        },
    )


def _add(document: JsonObject, path: str, body: JsonObject, operation: JsonObject) -> None:
    document["components"]["schemas"].update(body.pop("$defs", {}))
    content = {"application/json": {"schema": body}}
    document["paths"][path] = {
        "post": {**operation, "requestBody": {"required": True, "content": content}}
    }
