"""What answers look like, who may ask and what refusals look like, for the OpenAPI schema.

The routes are documented where they are; here is only what their answers promise. Answers may
have more fields than these: what an upstream says beside them is handed on.
"""

from __future__ import annotations

from app.api.paths import OPEN_PATHS
from app.protocol.json_types import JsonObject

_TEXT = {"type": "string"}
_WHOLE = {"type": "integer"}
_COUNT = {"type": "integer", "minimum": 0}
_OBJECT = {"type": "object"}


def _record(required: JsonObject, **optional: object) -> JsonObject:
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
    }


def _maybe(kind: str) -> JsonObject:
    return {"type": [kind, "null"]}


def _list(entry: JsonObject) -> JsonObject:
    return {"type": "array", "items": entry}


_USAGE = _record(
    {"prompt_tokens": _COUNT, "completion_tokens": _COUNT, "total_tokens": _COUNT},
    cost=_maybe("number"),
)
_CALL = _record({"id": _TEXT, "type": _TEXT}, function=_record({"name": _TEXT, "arguments": _TEXT}))
_MESSAGE = _record(
    {
        "role": {"const": "assistant"},
        "content": {"type": ["string", "array", "null"]},
        "refusal": _maybe("string"),
    },
    tool_calls=_list(_CALL),
)
_CHOICE = _record(
    {
        "index": _COUNT,
        "message": _MESSAGE,
        "logprobs": _maybe("object"),
        "finish_reason": _maybe("string"),
    }
)
_TEXT_CHOICE = _record({"index": _COUNT, "text": _TEXT, "finish_reason": _maybe("string")})
_EMBEDDING = _record(
    {
        "object": {"const": "embedding"},
        "index": _COUNT,
        "embedding": {"anyOf": [_list({"type": "number"}), _TEXT]},
    }
)
_MODEL = _record({"id": _TEXT, "object": {"const": "model"}, "created": _WHOLE, "owned_by": _TEXT})


def _answer(kind: str, choice: JsonObject) -> JsonObject:
    head = {"id": _TEXT, "object": {"const": kind}, "created": _WHOLE, "model": _TEXT}
    return _record({**head, "choices": _list(choice), "usage": _USAGE}, moa=_OBJECT)


_ANSWERS: dict[str, JsonObject] = {
    "/chat/completions": _answer("chat.completion", _CHOICE),
    "/v1/completions": _answer("text_completion", _TEXT_CHOICE),
    "/v1/embeddings": _record(
        {"object": {"const": "list"}, "data": _list(_EMBEDDING), "model": _TEXT}, usage=_OBJECT
    ),
    "/v1/models": _record({"object": {"const": "list"}, "data": _list(_MODEL)}),
    "/v1/models/{name}": _MODEL,
    "/health/live": _record({"status": {"const": "live"}}),
    "/health/ready": _record({"status": {"const": "ready"}}),
    "/v1/responses": _record(
        {
            "id": _TEXT,
            "object": {"const": "response"},
            "created_at": _WHOLE,
            "status": _TEXT,
            "model": _TEXT,
            "output": _list(_record({"type": _TEXT})),
        }
    ),
    "/v1/messages": _record(
        {
            "id": _TEXT,
            "type": {"const": "message"},
            "role": {"const": "assistant"},
            "model": _TEXT,
            "content": _list(_record({"type": _TEXT})),
            "stop_reason": _maybe("string"),
            "usage": _record({"input_tokens": _COUNT, "output_tokens": _COUNT}),
        }
    ),
}
"""The body of a whole answer, by the end of its path."""


def complete(document: JsonObject, error: JsonObject) -> None:
    """Add answers, keys and refusals to every operation; `error` is the schema of an error."""
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    }
    document["security"] = [{"bearer": []}, {"x-api-key": []}]
    refusal = {
        "description": "OpenAI's error object",
        "content": {"application/json": {"schema": error}},
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            responses = operation["responses"]
            if path in OPEN_PATHS:
                operation["security"] = []
            responses.setdefault("default", refusal)
            for each in responses.values():
                if "text/event-stream" in each.get("content", {}):
                    each["content"]["text/event-stream"] = {}  # OpenAPI 3.1 has no word for events
            for end, schema in _ANSWERS.items():
                if path.endswith(end):
                    responses["200"] = _with_body(responses["200"], schema)
    document["paths"]["/health/ready"]["get"]["responses"]["503"] = {
        "description": "There is nothing to serve",
        "content": {"application/json": {"schema": _record({"status": {"const": "not ready"}})}},
    }
    document["paths"]["/metrics"]["get"]["responses"]["200"]["content"] = {
        "text/plain": {"schema": _TEXT}
    }


def _with_body(response: JsonObject, schema: JsonObject) -> JsonObject:
    content = {**response["content"], "application/json": {"schema": schema}}
    return {**response, "content": content}
