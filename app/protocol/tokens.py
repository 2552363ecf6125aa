"""The one estimate of token counts: pure, no tokenizer, on the high side for English."""

from __future__ import annotations

from collections.abc import Iterable

from app.protocol.json_types import JsonObject

BYTES_PER_TOKEN = 3
TOKENS_PER_IMAGE = 1_000
TOKENS_PER_MESSAGE = 4
_COUNTED_APART = frozenset({"role", "content", "tool_calls", "function_call"})
"""Of a message; whatever else it has goes upstream too, as text."""
_TEXTS = frozenset({"text", "refusal", "thinking"})
"""Types of parts that are text, under a field of that name."""


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
    others = (value for name, value in message.items() if value and name not in _COUNTED_APART)
    return total + sum(estimate_text(str(value)) for value in others)


def _estimate_part(part: object) -> int:
    if not isinstance(part, dict):
        return 0
    kind = part.get("type", "text")
    text = part.get(kind) if kind in _TEXTS else None
    return estimate_text(text) if isinstance(text, str) else TOKENS_PER_IMAGE


def estimate_inputs(given: object) -> int:
    """Tokens of what is to be embedded: a text, token ids, or a list of either."""
    if isinstance(given, str):
        return estimate_text(given)
    return sum(map(estimate_inputs, given)) if isinstance(given, list) else 1
