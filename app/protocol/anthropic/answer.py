"""An answer as Anthropic's message object, and what streamed and whole messages have in common."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from app.protocol.answer import Answer
from app.protocol.json_types import JsonObject

UNREADABLE = "_unparsed"
"""Where the arguments of a call are kept that are no JSON object: the tool must not run on {}."""

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_REFUSAL = {"type": "refusal", "category": None, "explanation": None}


@dataclass(frozen=True, slots=True)
class Frame:
    """What is known of a message before it is answered.

    `stops` are the stop sequences asked for; `thinking`: reasoning is shown.
    """

    id: str
    model: str
    stops: tuple[str, ...] = ()
    thinking: bool = False

    def head(self) -> JsonObject:
        """The fields every message begins with."""
        return {"id": self.id, "type": "message", "role": "assistant", "model": self.model}

    def call_id(self, number: int) -> str:
        """An id for a tool call that came without one."""
        return f"toolu_{self.id.removeprefix('msg_')}_{number}"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a choice ended: its finish_reason, the stop it names, if it calls tools or refuses."""

    finish_reason: str | None
    matched: object = None
    calls: bool = False
    refused: bool = False

    def to_wire(self, frame: Frame) -> JsonObject:
        """`stop_reason` and its details; a stop sequence only where the upstream names it."""
        sequence = self.matched if self.matched in frame.stops else None
        reason = "stop_sequence" if sequence else self._reason()
        details = _REFUSAL if reason == "refusal" else None
        return {"stop_reason": reason, "stop_sequence": sequence, "stop_details": details}

    def _reason(self) -> str:
        reason = _STOP_REASONS.get(self.finish_reason or "stop", "end_turn")
        if reason == "end_turn":
            return "refusal" if self.refused else "tool_use" if self.calls else reason
        return reason


def message_object(
    frame: Frame, answer: Answer, usage: JsonObject, moa: JsonObject | None
) -> JsonObject:
    """The whole message of the first choice; `usage` is OpenAI's object."""
    choices = answer.to_wire(id="", created=0, model="", usage=None)["choices"]
    matched = next((each.get("stop_reason") for each in choices if each["index"] == 0), None)
    calls = answer.tool_calls()
    refusal = answer.refusal() or ""
    ending = Ending(answer.finish_reason(), matched, calls=bool(calls), refused=bool(refusal))
    content: list[JsonObject] = []
    if frame.thinking and (reasoning := answer.reasoning()):
        content.append({"type": "thinking", "thinking": reasoning, "signature": ""})
    if text := answer.text() + refusal:
        content.append({"type": "text", "text": text})
    content += [_tool_use(frame, number, call) for number, call in enumerate(calls)]
    message = {**frame.head(), "content": content, **ending.to_wire(frame)}
    message["usage"] = usage_object(usage)
    return message if moa is None else {**message, "moa": moa}


def usage_object(usage: JsonObject) -> JsonObject:
    """Anthropic's `usage`, where `input_tokens` counts neither reads nor writes of a cache."""
    prompt = usage["prompt_tokens_details"]
    read, written = prompt["cached_tokens"], prompt.get("cache_write_tokens", 0)
    reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
    return {
        "input_tokens": max(0, usage["prompt_tokens"] - read - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"thinking_tokens": reasoning},
        "cost": usage.get("cost"),
    }


def _tool_use(frame: Frame, number: int, call: JsonObject) -> JsonObject:
    function = called_function(call)
    return {
        "type": "tool_use",
        "id": call.get("id") or frame.call_id(number),
        "name": function.get("name") or "",
        "input": _input(arguments_text(function)),
    }


def called_function(call: JsonObject) -> JsonObject:
    """The function of a tool call or of a fragment of one; empty where there is none."""
    function = call.get("function")
    return function if isinstance(function, dict) else {}


def arguments_text(function: JsonObject) -> str:
    """Arguments as text; some servers send the object itself."""
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        return orjson.dumps(arguments).decode()
    return arguments if isinstance(arguments, str) else ""


def _input(text: str) -> JsonObject:
    if not text.strip():
        return {}
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    return value if isinstance(value, dict) else {UNREADABLE: text}
