"""What the types of the bodies do not say: rules between fields, and the limits of numbers.

Whoever makes requests from the published schema makes few that are refused for their form. What a
schema cannot say is left out: that `best_of` equals `n`, and that ids are of what was kept.
"""

from __future__ import annotations

from app.protocol.json_types import JsonObject

_NULL = {"type": "null"}


def _either(*wanted: JsonObject) -> JsonObject:
    """One of these has to hold; a field with another schema than null is required."""
    return {
        "anyOf": [
            {
                "properties": fields,
                "required": [name for name, schema in fields.items() if schema is not _NULL],
            }
            for fields in wanted
        ]
    }


_STREAM_OPTIONS = _either({"stream_options": _NULL}, {"stream": {"const": True}})
_ECHO = _either({"logprobs": _NULL}, {"echo": {"enum": [False, None]}}, {"echo": _NULL})
_GOES_ON = _either(
    {"input": {"type": ["string", "array"], "minItems": 1}},
    {"previous_response_id": {"type": "string"}},
)
_CHOICE = _either(
    {"tool_choice": _NULL},
    {"tool_choice": {"enum": ["none", "auto"]}},
    {"tools": {"type": "array", "minItems": 1}},
)
_MESSAGES = ("ResponsesInputMessage", "ResponsesOutputMessage")
"""Items that are messages even where no `type` says so."""


def add_rules(document: JsonObject) -> None:
    """Add them to the bodies of an OpenAPI document."""
    for path, operations in document["paths"].items():
        for operation in operations.values():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                _add(path, content["application/json"]["schema"])
    schemas = document["components"]["schemas"]
    for name in _MESSAGES:
        schemas[name]["properties"]["type"] = {"enum": ["message", None]}
        schemas[name]["required"].remove("type")
    image, file = schemas["ResponsesInputImage"], schemas["ResponsesInputFile"]
    image["properties"]["image_url"] = {"type": "string", "minLength": 1}
    image["required"].append("image_url")
    file["properties"]["file_url"] = _NULL
    _put_right(document)


def _add(path: str, body: JsonObject) -> None:
    fields, rules = body.get("properties", {}), []
    if "stream_options" in fields:
        rules.append(_STREAM_OPTIONS)
    if "suffix" in fields:
        fields["suffix"] = {"enum": ["", None], "description": "Nothing is filled in here."}
        rules.append(_ECHO)
    if "previous_response_id" in fields:
        rules += [_GOES_ON, _CHOICE]
    if path.endswith("/embeddings"):
        fields["input"] = _of_one_kind(fields["input"])
    if rules:
        body["allOf"] = rules


def _of_one_kind(texts: JsonObject) -> JsonObject:
    """The schema of an input, with a list for each kind of entry in place of one of them all."""
    kinds: list[JsonObject] = []
    for kind in texts["anyOf"]:
        entries = kind.get("items", {}).get("anyOf")
        kinds += [{**kind, "items": entry} for entry in entries] if entries else [kind]
    return {**texts, "anyOf": kinds}


def _put_right(value: object) -> None:
    """Bound the integers, which have 64 bits of either kind, and take out nested discriminators.

    OpenAPI knows only those that map to plain references.
    """
    if isinstance(value, dict):
        if value.get("type") == "integer":
            value.setdefault("minimum", -(2**63))
            value.setdefault("maximum", 2**64 - 1)
        discriminator = value.get("discriminator")
        if isinstance(discriminator, dict):
            mapping = discriminator.get("mapping", {})
            if not all(isinstance(target, str) for target in mapping.values()):
                del value["discriminator"]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        _put_right(each)
