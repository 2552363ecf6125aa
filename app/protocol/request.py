"""Reads a client's chat body: bytes in, a checked `ChatCall` out, or one `InvalidRequest`.

Values are checked and then handed on as they came; nothing is converted, filled in or dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import orjson
from pydantic import TypeAdapter, ValidationError

from app.errors import InvalidRequest
from app.protocol.chat import ChatRequest, Conversation
from app.protocol.chat_body import ChatBody
from app.protocol.duration import parse_duration
from app.protocol.images import refuse_many_images
from app.protocol.json_types import JsonObject
from app.protocol.nesting import MAX_DEPTH, is_too_deep

_OURS = ("model", "messages", "stream", "stream_options", "moa")
_OPERATORS = frozenset({"api_base", "api_key", "base_url", "extra_headers", "headers"})
"""Fields that other gateways obey: one behind us would send its key where a client says."""
CHAT_BODY = TypeAdapter(ChatBody)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the client asks of the gateway itself, in the body object `moa`.

    `include` names parts of the `moa` extension the client wants to see, `progress` how the
    panel's work is shown in a stream. `max_cost` (USD), `max_calls`, `timeout` (seconds) and
    `quorum` only tighten what the operator allows. None leaves it to the graph.
    """

    include: tuple[Literal["run"], ...] = ()
    progress: Literal["reasoning", "off"] | None = None
    max_cost: Decimal | None = None
    max_calls: int | None = None
    timeout: float | None = None
    quorum: int | None = None


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A client's checked request; `request.stream` is what the client asked for."""

    model: str
    request: ChatRequest
    include_usage: bool
    wishes: Wishes


def parse_chat(body: bytes, model: str | None = None) -> ChatCall:
    """Check a body; `model` stands for the one in it.

    Raises InvalidRequest whose `param` names the field (`messages[1].role`).
    """
    data = checked_body(body, CHAT_BODY, model)
    check_stream_options(data)
    refuse_many_images(data["messages"])
    stream, options = bool(data.get("stream")), data.get("stream_options")
    params = {key: value for key, value in data.items() if key not in _OURS}
    return ChatCall(
        model=data["model"],
        request=ChatRequest(Conversation(tuple(data["messages"])), params, stream),
        include_usage=bool(options and options.get("include_usage")),
        wishes=read_wishes(data.get("moa")),
    )


def checked_body(body: bytes, shape: TypeAdapter[Any], model: str | None = None) -> JsonObject:
    """The JSON object of a body of this shape, as it came, but for a `model` that is given.

    Raises InvalidRequest whose `param` names the field at fault.
    """
    data = _parse_object(body)
    for name in sorted(_OPERATORS & data.keys()):
        raise InvalidRequest(f"{name}: where requests go is the operator's choice", param=name)
    if model is not None:
        data["model"] = model
    check_shape(data, shape)
    return data


def check_stream_options(data: JsonObject) -> None:
    """Raise InvalidRequest for options of a stream that is not asked for."""
    if data.get("stream_options") is not None and not data.get("stream"):
        raise InvalidRequest(
            "stream_options: only accepted together with stream: true", param="stream_options"
        )


def check_shape(data: JsonObject, shape: TypeAdapter[Any]) -> None:
    """Raise InvalidRequest, naming the field at fault, where an object has not this shape."""
    try:
        shape.validate_python(data, strict=True)
    except ValidationError as failure:
        raise _refusal(data, failure) from None


def read_wishes(given: JsonObject | None) -> Wishes:
    """The wishes in a checked `moa` object; none without one."""
    given = given or {}
    cost, timeout = given.get("max_cost"), parse_duration(given.get("timeout"))
    return Wishes(
        include=tuple(given.get("include", ())),
        progress=given.get("progress"),
        max_cost=None if cost is None else Decimal(str(cost)),
        max_calls=given.get("max_calls"),
        timeout=float(timeout) if isinstance(timeout, int | float) else None,
        quorum=given.get("quorum"),
    )


def _parse_object(body: bytes) -> JsonObject:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as failure:
        raise InvalidRequest(f"The body is not valid JSON in UTF-8: {_where(failure)}") from None
    if not isinstance(data, dict):
        raise InvalidRequest("The body must be a JSON object")
    if is_too_deep(body, data):
        raise InvalidRequest(f"The body is nested too deep: up to {MAX_DEPTH} levels are accepted")
    return data


def _where(failure: orjson.JSONDecodeError) -> str:
    """What is wrong, without the text around it."""
    return f"{failure.msg.split(': line', maxsplit=1)[0]} (character {failure.pos})"


def _refusal(data: JsonObject, failure: ValidationError) -> InvalidRequest:
    """The error of the deepest field at fault: of a union's branches, the one that was meant."""
    located = [
        (_path(data, error), _sentence(error))
        for error in failure.errors(include_url=False, include_input=False)
    ]
    depth = max(len(path) for path, _ in located)
    path = next(path for path, _ in located if len(path) == depth)
    sentences = dict.fromkeys(sentence for where, sentence in located if where == path)
    param = _render(path)
    return InvalidRequest(f"{param}: {' or '.join(sentences)}", param=param)


def _path(data: JsonObject, error: Any) -> tuple[str | int, ...]:
    """The error's place in the body; pydantic's has the names of union branches in between."""
    path: list[str | int] = []
    value: Any = data
    for step in error["loc"]:
        if step in value if isinstance(value, dict) else isinstance(step, int):
            path.append(step)
            value = value[step]
    if error["type"] == "missing":
        path.append(error["loc"][-1])
    if error["type"].startswith("union_tag"):
        path.append(error["ctx"]["discriminator"].strip("'"))
    return tuple(path)


def _sentence(error: Any) -> str:
    if error["type"] == "union_tag_invalid":
        return f"accepted are {error['ctx']['expected_tags']}"
    if error["type"] == "union_tag_not_found" or error["type"] == "missing":
        return "this field is required"
    if error["type"] == "extra_forbidden":
        return "unknown field"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    message: str = error["msg"]
    return message[0].lower() + message[1:]


def _render(path: tuple[str | int, ...]) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
