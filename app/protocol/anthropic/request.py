"""Reads a messages body: bytes in, a checked `ChatCall` out, or one `InvalidRequest`.

The blocks of the turns are `turns`' matter. Fields that only mean something on Anthropic's own
servers are left out; fields nobody knows travel on, as they do from a chat body.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from app.errors import InvalidRequest
from app.protocol.anthropic.body import MESSAGES_BODY, PROMPT, MessagesBody
from app.protocol.anthropic.turns import chat_messages
from app.protocol.chat import ChatRequest, Conversation
from app.protocol.images import refuse_many_images
from app.protocol.json_types import JsonObject
from app.protocol.request import CHAT_BODY, ChatCall, check_shape, checked_body, read_wishes
from app.protocol.tokens import estimate_text

LEFT_OUT = frozenset(
    {
        "cache_control",
        "container",
        "context_management",
        "diagnostics",
        "inference_geo",
        "mcp_servers",
        "service_tier",
        "speed",
        "user_profile_id",
        "workspace_id",
    }
)
"""Anthropic's own: they say nothing to another server, which would refuse them."""

NO_PLACE = ("audio", "function_call", "functions", "logprobs", "modalities", "n", "top_logprobs")
"""Chat fields whose answers a message cannot hold."""

_OURS = frozenset(MessagesBody.__annotations__) | LEFT_OUT | {"stream_options"}
_SAME = ("max_tokens", "temperature", "top_p", "top_k")
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_ANY_CHAT: JsonObject = {"model": "any", "messages": [{"role": "user", "content": ""}]}


@dataclass(frozen=True, slots=True)
class MessagesCall:
    """A client's checked request; `thinking`: reasoning is shown in the answer."""

    call: ChatCall
    thinking: bool

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop sequences, so that an answer can say which one ended it."""
        stops = self.call.request.params.get("stop")
        return tuple(stops) if isinstance(stops, list) else ()


def parse_messages(body: bytes) -> MessagesCall:
    """Check a body. Raises InvalidRequest whose `param` names the field."""
    data = checked_body(body, MESSAGES_BODY)
    request = ChatRequest(_conversation(data), _params(data), bool(data.get("stream")))
    wishes = read_wishes(data.get("moa"))
    call = ChatCall(data["model"], request, include_usage=False, wishes=wishes)
    return MessagesCall(call, _shows_thinking(data) or wishes.progress == "reasoning")


def parse_count(body: bytes) -> tuple[str, int]:
    """The model of a `count_tokens` body and our estimate of its tokens. Raises InvalidRequest."""
    data = checked_body(body, PROMPT)
    tools = orjson.dumps(_tools(data)["tools"]).decode() if data.get("tools") else ""
    return data["model"], _conversation(data).tokens + estimate_text(tools)


def _conversation(data: JsonObject) -> Conversation:
    messages = chat_messages(data.get("system"), data["messages"])
    refuse_many_images(messages)
    return Conversation(messages)


def _params(data: JsonObject) -> JsonObject:
    params = _unknown(data)
    params |= {name: data[name] for name in _SAME if data.get(name) is not None}
    if data.get("stop_sequences"):
        params["stop"] = data["stop_sequences"]
    user = (data.get("metadata") or {}).get("user_id")
    if user is not None:
        params["user"] = user
    return params | _output(data.get("output_config") or {}) | _tools(data)


def _unknown(data: JsonObject) -> JsonObject:
    """Fields of no messages body, checked as chat fields: nobody behind us checks them again."""
    for name in NO_PLACE:
        if data.get(name) is not None:
            raise InvalidRequest(f"{name}: a message has no place for this", param=name)
    unknown = {name: value for name, value in data.items() if name not in _OURS}
    if unknown:
        check_shape(_ANY_CHAT | unknown, CHAT_BODY)
    return unknown


def _output(config: JsonObject) -> JsonObject:
    params: JsonObject = {}
    if config.get("effort"):
        params["reasoning_effort"] = config["effort"]
    if form := config.get("format"):
        schema = {"name": "answer", "schema": form["schema"], "strict": True}
        params["response_format"] = {"type": "json_schema", "json_schema": schema}
    return params


def _tools(data: JsonObject) -> JsonObject:
    if not data.get("tools"):
        return {}
    params: JsonObject = {"tools": [_tool(tool) for tool in data["tools"]]}
    if choice := data.get("tool_choice"):
        named = {"type": "function", "function": {"name": choice.get("name")}}
        params["tool_choice"] = _CHOICES.get(choice["type"], named)
        if choice.get("disable_parallel_tool_use"):
            params["parallel_tool_calls"] = False
    return params


def _tool(tool: JsonObject) -> JsonObject:
    function = {"name": tool["name"], "parameters": tool["input_schema"]}
    function |= {name: tool[name] for name in ("description", "strict") if tool.get(name)}
    return {"type": "function", "function": function}


def _shows_thinking(data: JsonObject) -> bool:
    """Only who asked for reasoning gets blocks of it: many clients read `content[0].text`."""
    thinking = data.get("thinking")
    if not thinking or thinking["type"] == "disabled":
        return False
    return bool(thinking.get("display") != "omitted")
