"""The one estimate of token counts: pure, no tokenizer, on the high side for English."""

from __future__ import annotations

from collections.abc import Iterable

from app.protocol.json_types import JsonObject

BYTES_PER_TOKEN = 3
TOKENS_PER_IMAGE = 1_000
TOKENS_PER_MESSAGE = 4


def estimate_text(text: str) -> int:
    """Tokens of a text: UTF-8 bytes / 3, rounded up."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def estimate_messages(messages: Iterable[JsonObject]) -> int:
    """Tokens of a conversation, with a constant per message and per image or audio part."""
    return sum(TOKENS_PER_MESSAGE + _estimate_message(message) for message in messages)


def _estimate_message(message: JsonObject) -> int:
    content = message.get("content")
    total = 0
    if isinstance(content, str):
        total += estimate_text(content)
    elif isinstance(content, list):
        total += sum(_estimate_part(part) for part in content)
    for call in (*(message.get("tool_calls") or ()), message.get("function_call")):
        total += estimate_text(str(call)) if call else 0
    return total


def _estimate_part(part: object) -> int:
    if not isinstance(part, dict):
        return 0
    text = part.get("text", part.get("refusal"))
    return estimate_text(text) if isinstance(text, str) else TOKENS_PER_IMAGE
