"""Reads a body of `/v1/responses` into a chat call, and what of it the response repeats.

What chat has under another name is renamed, what it has not is refused by name or, where nothing
depends on it, only repeated. Unknown fields go to the output node untouched, as they do in chat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from app.errors import InvalidRequest
from app.protocol.chat import ChatRequest, Conversation
from app.protocol.chat_body import MAX_MESSAGES
from app.protocol.images import refuse_many_images
from app.protocol.json_types import JsonObject
from app.protocol.request import ChatCall, Wishes, check_shape, checked_body, read_wishes
from app.protocol.responses.body import BODY
from app.protocol.responses.items import full_items, refuse_unreachable, to_messages

LOGPROBS = "message.output_text.logprobs"

_OBJECT = TypeAdapter(dict[str, Any])
_REFUSED = {
    "background": "answers are made while the client waits",
    "background_options": "answers are made while the client waits",
    "context_management": "conversations are not compacted",
    "conversation": "use previous_response_id",
    "prompt": "no prompts are kept here",
    "messages": "the conversation goes into input",
    "n": "there is one answer",
    "audio": "answers are text",
    "modalities": "answers are text",
    "functions": "use tools",
    "function_call": "use tool_choice",
}
_NOT_FOR_CHAT = frozenset(
    {
        "model", "input", "instructions", "previous_response_id", "store", "stream", "moa",
        "stream_options", "include", "max_output_tokens", "max_tool_calls", "reasoning", "text",
        "tools", "tool_choice", "parallel_tool_calls", "top_logprobs", "truncation", "image",
        "access_programs", *_REFUSED,
    }
)  # fmt: skip
_REPEATED: Mapping[str, object] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "service_tier": None,
    "temperature": None,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
_IN_CHAT = {
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
}


@dataclass(frozen=True, slots=True)
class ResponseCall:
    """A client's checked request for a response.

    `items` is this request's input alone, `previous` the id of the response it goes on from,
    `repeated` the fields that the response shows again.
    """

    model: str
    items: tuple[JsonObject, ...]
    previous: str | None
    store: bool
    stream: bool
    instructions: str | None
    params: Mapping[str, object]
    repeated: JsonObject
    wishes: Wishes

    def chat(self, items: Sequence[JsonObject]) -> ChatCall:
        """The chat call for a conversation of these items, which end with the call's own.

        Instructions count for one response; those of an earlier one are not taken over. Raises
        InvalidRequest if nothing is asked, or too much.
        """
        messages = to_messages(items)
        if not messages:
            raise InvalidRequest("input: this field is required", param="input")
        if len(messages) > MAX_MESSAGES:
            raise InvalidRequest(
                f"The conversation has more than {MAX_MESSAGES} messages",
                param="previous_response_id" if self.previous else "input",
            )
        refuse_many_images(messages, "input")
        if self.instructions:
            messages.insert(0, {"role": "system", "content": self.instructions})
        request = ChatRequest(Conversation(tuple(messages)), self.params, self.stream)
        return ChatCall(self.model, request, include_usage=True, wishes=self.wishes)


def parse_response_call(body: bytes) -> ResponseCall:
    """Check a body. Raises InvalidRequest whose `param` names the field (`input[1].role`)."""
    data = checked_body(body, _OBJECT)
    _refuse_unsupported(data)
    data["input"] = full_items(data.get("input"))
    check_shape(data, BODY)
    refuse_unreachable(data["input"])
    stream = bool(data.get("stream"))
    if data.get("stream_options") is not None and not stream:
        raise InvalidRequest(
            "stream_options: only accepted together with stream: true", param="stream_options"
        )
    return ResponseCall(
        model=data["model"],
        items=tuple(data["input"]),
        previous=data.get("previous_response_id"),
        store=data.get("store") is not False,
        stream=stream,
        instructions=data.get("instructions"),
        params=_chat_params(data),
        repeated=_repeated(data),
        wishes=read_wishes(data.get("moa")),
    )


def param_in_request(param: str | None) -> str | None:
    """Where in a request for a response a parameter of chat came from."""
    if param is None:
        return None
    name = param.partition("[")[0].partition(".")[0]
    return _IN_CHAT.get(name, param)


def _refuse_unsupported(data: JsonObject) -> None:
    for name, instead in _REFUSED.items():
        if data.get(name):
            raise InvalidRequest(f"{name}: not supported; {instead}", param=name)


def _chat_params(data: JsonObject) -> dict[str, object]:
    params = {name: value for name, value in data.items() if name not in _NOT_FOR_CHAT}
    text, reasoning = data.get("text") or {}, data.get("reasoning") or {}
    renamed = {
        "max_tokens": data.get("max_output_tokens"),
        "reasoning_effort": reasoning.get("effort"),
        "response_format": _response_format(text.get("format")),
        "verbosity": text.get("verbosity"),
        **_logprobs(data),
        **_tools(data),
    }
    return {**params, **{name: value for name, value in renamed.items() if value is not None}}


def _response_format(given: JsonObject | None) -> JsonObject | None:
    if given is None or given["type"] == "text":
        return None
    if given["type"] == "json_object":
        return {"type": "json_object"}
    schema = {name: value for name, value in given.items() if name != "type" and value is not None}
    return {"type": "json_schema", "json_schema": schema}


def _logprobs(data: JsonObject) -> dict[str, object]:
    top = data.get("top_logprobs")
    if not top and LOGPROBS not in (data.get("include") or ()):
        return {}
    return {"logprobs": True, "top_logprobs": top}


def _tools(data: JsonObject) -> dict[str, object]:
    """Tools and what goes with them; chat takes no `tool_choice` where there are none.

    Of allowed tools the others are left out, which every server understands.
    """
    tools, choice = data.get("tools") or [], data.get("tool_choice")
    if isinstance(choice, dict) and choice["type"] == "allowed_tools":
        allowed = {tool["name"] for tool in choice["tools"]}
        tools = [tool for tool in tools if tool["name"] in allowed]
        choice = choice["mode"]
    if not tools:
        if choice not in (None, "none", "auto"):
            raise InvalidRequest("tool_choice: there is no tool to choose", param="tool_choice")
        return {}
    return {
        "tools": [_nested(tool) for tool in tools],
        "tool_choice": _nested(choice) if isinstance(choice, dict) else choice,
        "parallel_tool_calls": data.get("parallel_tool_calls"),
    }


def _nested(flat: JsonObject) -> JsonObject:
    names = ("name", "description", "parameters", "strict")
    function = {name: flat[name] for name in names if flat.get(name) is not None}
    return {"type": "function", "function": function}


def _repeated(data: JsonObject) -> JsonObject:
    repeated = {
        name: default if data.get(name) is None else data[name]
        for name, default in _REPEATED.items()
    }
    text, reasoning = data.get("text") or {}, data.get("reasoning") or {}
    repeated["text"] = {**text, "format": text.get("format") or {"type": "text"}}
    repeated["reasoning"] = {"effort": None, "summary": None, **reasoning}
    repeated["store"] = data.get("store") is not False
    return repeated
