"""Anthropic's turns as chat messages. Every block is translated or, where it says so, left out.

What chat cannot say in place: results of tools come before the rest of their turn, and what they
show (images, files) goes into the user message after them, since a tool message holds text only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from app.protocol.json_types import JsonObject

FAILED = "[the tool failed]"


def chat_messages(system: Any, turns: Sequence[JsonObject]) -> tuple[JsonObject, ...]:
    """The messages of a checked body."""
    messages = list(_system(system)) if system else []
    loop = _loop_start(turns)
    for position, turn in enumerate(turns):
        if turn["role"] == "assistant":
            messages.append(_assistant(turn["content"], in_loop=position > loop))
        else:
            translate = _user if turn["role"] == "user" else _system
            messages.extend(translate(turn["content"]))
    return tuple(messages)


def _loop_start(turns: Sequence[JsonObject]) -> int:
    """The last turn in which the user spoke: what follows it are calls and results of tools."""
    for position in range(len(turns) - 1, -1, -1):
        turn = turns[position]
        if turn["role"] == "user" and not _only_results(turn["content"]):
            return position
    return -1


def _only_results(content: Any) -> bool:
    return isinstance(content, list) and all(each["type"] == "tool_result" for each in content)


def _system(content: Any) -> Iterator[JsonObject]:
    text = content if isinstance(content, str) else "\n\n".join(each["text"] for each in content)
    if text:
        yield {"role": "system", "content": text}


def _user(content: Any) -> Iterator[JsonObject]:
    if isinstance(content, str):
        yield {"role": "user", "content": content}
        return
    parts: list[JsonObject] = []
    is_answer = False
    for block in content:
        if block["type"] == "tool_result":
            is_answer = True
            text, media = _result(block)
            yield {"role": "tool", "tool_call_id": block["tool_use_id"], "content": text}
            if media:
                origin = f"[shown by the result of the tool call {block['tool_use_id']}]"
                parts += [_text(origin), *media]
    for block in content:
        if block["type"] != "tool_result":
            parts.extend(_parts(block))
    if parts or not is_answer:
        is_plain = len(parts) == 1 and parts[0]["type"] == "text"
        yield {"role": "user", "content": parts[0]["text"] if is_plain else parts}


def _assistant(content: Any, *, in_loop: bool) -> JsonObject:
    """An earlier answer.

    Its reasoning is given back while its tool calls are being answered, as Anthropic's own API
    has it and servers with interleaved reasoning want it; signed reasoning is not ours.
    """
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    text = "".join(block["text"] for block in content if block["type"] == "text")
    calls = [_call(block) for block in content if block["type"] == "tool_use"]
    message: JsonObject = {"role": "assistant", "content": text or (None if calls else "")}
    if calls:
        message["tool_calls"] = calls
        unsigned = (
            block["thinking"]
            for block in content
            if block["type"] == "thinking" and not block.get("signature")
        )
        if in_loop and (reasoning := "".join(unsigned)):
            message["reasoning_content"] = reasoning
    return message


def _call(block: JsonObject) -> JsonObject:
    function = {"name": block["name"], "arguments": orjson.dumps(block["input"]).decode()}
    return {"id": block["id"], "type": "function", "function": function}


def _result(block: JsonObject) -> tuple[str, list[JsonObject]]:
    """What a tool said, and what it showed."""
    content = block.get("content") or ""
    parts = [_text(content)] if isinstance(content, str) else []
    if isinstance(content, list):
        parts = [part for each in content for part in _parts(each)]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    if block.get("is_error"):
        texts.insert(0, FAILED)
    return "\n".join(filter(None, texts)), [part for part in parts if part["type"] != "text"]


def _parts(block: JsonObject) -> list[JsonObject]:
    """The content parts of a block that is shown to the model."""
    kind = block["type"]
    if kind == "text":
        return [_text(block["text"])]
    if kind == "image":
        return [{"type": "image_url", "image_url": {"url": _address(block["source"])}}]
    if kind == "search_result":
        head = f"{block['title']} ({block['source']})"
        return [_text("\n".join([head, *(each["text"] for each in block["content"])]))]
    return _document(block)


def _document(block: JsonObject) -> list[JsonObject]:
    title, source = block.get("title"), block["source"]
    head = [_text(line) for line in (title, block.get("context")) if line]
    if source["type"] == "base64":
        file = {"filename": title or "document.pdf", "file_data": _address(source)}
        return [*head[1 if title else 0 :], {"type": "file", "file": file}]
    if source["type"] == "text":
        return [*head, _text(source["data"])]
    content = source["content"]
    if isinstance(content, str):
        return [*head, _text(content)]
    return [*head, *(part for each in content for part in _parts(each))]


def _address(source: JsonObject) -> str:
    if source["type"] == "base64":
        return f"data:{source['media_type']};base64,{source['data']}"
    url: str = source["url"]
    return url


def _text(text: str) -> JsonObject:
    return {"type": "text", "text": text}
