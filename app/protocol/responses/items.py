"""Input items to chat messages, and to the items a client may list afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.errors import InvalidRequest
from app.protocol.json_types import JsonObject

_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco"}
_PARTS = {"message": "content", "function_call_output": "output"}
"""Where an item has parts whose shape has been checked; its other fields may be anything."""


def full_items(given: object) -> object:
    """The input as a list of items, each with its `type`; what is no input is left to the check."""
    if given is None:
        return []
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return [_typed(item) for item in given] if isinstance(given, list) else given


def refuse_unreachable(items: Sequence[JsonObject]) -> None:
    """Raise InvalidRequest for a part that chat has no form for."""
    for number, item in enumerate(items):
        field = _PARTS.get(item["type"])
        parts = item[field] if field else None
        for position, part in enumerate(parts if isinstance(parts, list) else ()):
            _refuse_part(part, f"input[{number}].{field}[{position}]")


def to_messages(items: Iterable[JsonObject]) -> list[JsonObject]:
    """The conversation as chat has it.

    All that an assistant said and called between two others' turns becomes one message where a
    call is among it: chat wants the results right after the message with the calls. Reasoning is
    left out, since servers refuse what another one thought.
    """
    messages: list[JsonObject] = []
    for item in items:
        kind = item["type"]
        if kind == "function_call":
            _add_call(messages, item)
        elif kind == "function_call_output":
            content = _content(item["output"])
            messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": content})
        elif kind == "message" and item["role"] == "assistant":
            _add_answer(messages, item["content"])
        elif kind == "message":
            messages.append({"role": item["role"], "content": _content(item["content"])})
    return messages


def listed(items: Iterable[JsonObject], run_id: str) -> list[JsonObject]:
    """Items as a client may list them: with an id, a status, and content as a list of parts."""
    return [_listed(item, f"{run_id}_in{number}") for number, item in enumerate(items)]


def _typed(item: object) -> object:
    if not isinstance(item, dict) or item.get("type") is not None:
        return item
    kind = "item_reference" if "id" in item and "role" not in item else "message"
    return {**item, "type": kind}


def _refuse_part(part: JsonObject, where: str) -> None:
    if part.get("file_url"):
        param = f"{where}.file_url"
        raise InvalidRequest(f"{param}: files are not fetched; send file_data", param=param)
    if part["type"] == "input_image" and not part.get("image_url"):
        param = f"{where}.image_url"
        raise InvalidRequest(f"{param}: required, since no images are kept here", param=param)


def _add_call(messages: list[JsonObject], item: JsonObject) -> None:
    call = {
        "id": item["call_id"],
        "type": "function",
        "function": {"name": item["name"], "arguments": item["arguments"]},
    }
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    messages[-1].setdefault("tool_calls", []).append(call)


def _add_answer(messages: list[JsonObject], content: object) -> None:
    texts, refusals = _said(content)
    if messages and "tool_calls" in messages[-1]:
        message = messages[-1]
    else:
        message = {"role": "assistant", "content": None}
        messages.append(message)
    if texts or not refusals:
        message["content"] = (message["content"] or "") + texts
    if refusals:
        message["refusal"] = message.get("refusal", "") + refusals


def _said(content: object) -> tuple[str, str]:
    if not isinstance(content, list):
        return str(content), ""
    texts = "".join(part["text"] for part in content if part["type"] == "output_text")
    return texts, "".join(part["refusal"] for part in content if part["type"] == "refusal")


def _content(content: object) -> object:
    """Parts in chat's words; a lone text is a string, which every server understands."""
    if not isinstance(content, list):
        return content
    if all(part["type"] == "input_text" for part in content) and len(content) <= 1:
        return "".join(part["text"] for part in content)
    return [_part(part) for part in content]


def _part(part: JsonObject) -> JsonObject:
    kind = part["type"]
    if kind == "input_image":
        image = {"url": part["image_url"]}
        if part.get("detail"):
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    if kind == "input_file":
        names = ("file_data", "file_id", "filename")
        return {"type": "file", "file": {name: part[name] for name in names if part.get(name)}}
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": part["input_audio"]}
    return {"type": "text", "text": part["text"]}


def _listed(item: JsonObject, suffix: str) -> JsonObject:
    prefix = _PREFIXES.get(item["type"])
    if prefix is None:
        return item
    item = {"status": "completed", **item, "id": item.get("id") or f"{prefix}_{suffix}"}
    if item["type"] == "message" and isinstance(text := item["content"], str):
        said: JsonObject = {"type": "input_text", "text": text}
        if item["role"] == "assistant":
            said = {"type": "output_text", "text": text, "annotations": []}
        item["content"] = [said]
    return item
