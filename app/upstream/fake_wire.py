"""A `Reply` as bytes on the wire, made once and sent many times. No socket here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import orjson

from app.protocol.json_types import JsonObject
from app.upstream.fake_flood import endless_line, gzip_bomb
from app.upstream.fake_reply import Reply
from app.upstream.fake_script import Script

HeaderList: TypeAlias = list[tuple[bytes, bytes]]
Break: TypeAlias = Literal["none", "gate", "hang", "cut", "reset", "noise"]

IDENTITY = {"id": "chatcmpl-fake", "created": 1_700_000_000}
NEWLINES = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}
BREAKS: dict[str, Break] = {
    "gate": "gate",
    "hang": "hang",
    "cut": "cut",
    "reset": "reset",
    "noise": "noise",
}
GARBAGE = b'{"choices": [{"delta": {"content": "'


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a request decides about the bytes of its answer."""

    model: str
    stream: bool = False
    include_usage: bool = False
    choices: int = 1


@dataclass(frozen=True, slots=True)
class Write:
    """`data`, holding so many events, is written after a pause of so many seconds."""

    pause: float
    data: bytes
    events: int = 1


@dataclass(frozen=True, slots=True)
class Rendered:
    """A response: `pause` in seconds, headers, `opening`, the break, `rest`.

    `silent`: the break comes before the headers; `half_head`: in the middle of them.
    """

    status: int
    headers: HeaderList
    pause: float = 0.0
    opening: Sequence[Write] = ()
    rest: Sequence[Write] = ()
    break_: Break = "none"
    silent: bool = False
    half_head: bool = False


def render(reply: Reply, shape: Shape) -> Rendered:
    """The response to a request of this shape."""
    if reply.flood != "none":
        return _flood(reply, shape)
    if reply.body is not None:
        return _body(reply, reply.body.encode(), "text/html; charset=utf-8")
    if reply.status >= 400:  # noqa: PLR2004 - where HTTP's errors begin
        return _body(reply, orjson.dumps(error_body(reply.message, reply.code)))
    return _stream(reply, shape) if shape.stream else _body(reply, _completion(reply, shape))


def error_body(message: str, code: str | None = None, param: str | None = None) -> JsonObject:
    """An error as OpenAI words it."""
    return {"error": {"message": message, "type": "fake_error", "param": param, "code": code}}


def _response(
    reply: Reply, headers: HeaderList, opening: Sequence[Write], rest: Sequence[Write]
) -> Rendered:
    if reply.retry_after is not None:
        headers.append((b"retry-after", reply.retry_after.encode()))
    break_ = BREAKS.get(reply.then, "none")
    silent = reply.after < 0
    return Rendered(
        reply.status, headers, reply.first, opening, rest, break_, silent, reply.half_head
    )


def _flood(reply: Reply, shape: Shape) -> Rendered:
    headers = [(b"content-type", _type(reply, "text/event-stream"))]
    begin = b"data: " + GARBAGE if shape.stream else GARBAGE
    if reply.flood == "gzip":
        headers.append((b"content-encoding", b"gzip"))
        parts = gzip_bomb(begin, reply.megabytes)
    else:
        parts = endless_line(begin, reply.megabytes)
    return _response(reply, headers, (), [Write(0, part, 0) for part in parts])


def _body(reply: Reply, body: bytes, content_type: str = "application/json") -> Rendered:
    half = len(body) // 2
    if reply.then == "error":
        body = orjson.dumps(error_body(reply.message, reply.code))
    elif reply.then in {"end", "half", "garbage"}:
        body = body[:half]
    if reply.then == "finish" or reply.after < 0:
        half = 0
    length = (b"content-length", b"%d" % len(body))
    headers = [(b"content-type", _type(reply, content_type)), length]
    if reply.split and not half:
        return _response(reply, headers, (), _split(reply, body))
    opening = [Write(0, body[:half], 0)] if half else []
    pause = reply.every * max(len(reply.words) - 1, 0)
    return _response(reply, headers, opening, [Write(pause, body[half:])])


def _completion(reply: Reply, shape: Shape) -> bytes:
    [[chunk]] = _script(reply).batches(stream=False)
    choice = chunk.choices[0]
    answer = {
        **IDENTITY,
        "object": "chat.completion",
        "model": shape.model.partition("?")[0],
        "choices": [
            {"index": n, "message": choice["delta"], "finish_reason": choice["finish_reason"]}
            for n in range(shape.choices)
        ],
    }
    if reply.usage != "none":
        answer["usage"] = reply.billed
    return orjson.dumps(answer)


def _script(reply: Reply) -> Script:
    return Script(
        reply.words,
        reasoning=reply.reasoning,
        refusal=reply.refusal,
        tool_calls=reply.tool_calls,
        finish_reason=reply.finish,
    )


def _stream(reply: Reply, shape: Shape) -> Rendered:
    events = [_event(reply, chunk) for chunk in _chunks(reply, shape)]
    if reply.done:
        events.append(_event(reply, None))
    stop = max(reply.after, 0)
    opening, rest = events[:stop], events[stop:]
    if reply.then == "error":
        rest = [_event(reply, error_body(reply.message, reply.code))]
    elif reply.then == "garbage":
        rest = [b"data: " + GARBAGE + 2 * NEWLINES[reply.newline]]
    elif reply.then == "end":
        rest = []
    elif reply.then == "half":
        rest = [event[: len(event) // 2] for event in rest[:1]]
    if reply.then not in BREAKS:
        opening, rest = [], opening + rest
    headers = [(b"content-type", _type(reply, "text/event-stream; charset=utf-8"))]
    return _response(reply, headers, _writes(reply, opening), _writes(reply, rest))


def _writes(reply: Reply, events: Sequence[bytes]) -> list[Write]:
    if not events:
        return []
    if reply.split:
        return _split(reply, b"".join(events))
    if reply.joined and not reply.every:
        return [Write(0, b"".join(events), len(events))]
    return [Write(reply.every if n else 0, event) for n, event in enumerate(events)]


def _split(reply: Reply, data: bytes) -> list[Write]:
    parts = [data[at : at + reply.split] for at in range(0, len(data), reply.split)]
    return [Write(reply.every if n else 0, part, 0) for n, part in enumerate(parts)]


def _type(reply: Reply, right: str) -> bytes:
    return (right if reply.content_type is None else reply.content_type).encode()


def _event(reply: Reply, value: JsonObject | None) -> bytes:
    newline = NEWLINES[reply.newline]
    option = orjson.OPT_INDENT_2 if reply.data_lines else None
    payload = b"[DONE]" if value is None else orjson.dumps(value, option=option)
    lines = [b"data: " + line for line in payload.split(b"\n")]
    comment = b": keep-alive" + 2 * newline if reply.comments else b""
    return comment + newline.join(lines) + 2 * newline


def _chunks(reply: Reply, shape: Shape) -> Iterator[JsonObject]:
    asked = reply.usage == "asked" and shape.include_usage
    head: JsonObject = {
        **IDENTITY,
        "object": "chat.completion.chunk",
        "model": shape.model.partition("?")[0],
    }
    usage: JsonObject = {"usage": None} if asked else {}
    if reply.usage == "every":
        usage = {"usage": reply.billed}
    *pieces, ending = _script(reply).batches(stream=True)
    for piece in pieces:
        for choice in _choices(reply, shape, piece[0].choices[0]):
            yield {**head, "choices": [choice], **usage}
    if reply.finish != "":
        at_finish = {"usage": reply.billed} if reply.usage == "finish" else usage
        for choice in _choices(reply, shape, ending[0].choices[0]):
            yield {**head, "choices": [choice], **at_finish}
    if asked or reply.usage in {"end", "choice"}:
        empty = {"index": 0, "delta": {}, "finish_reason": None}
        choices = [empty] if reply.usage == "choice" else []
        yield {**head, "choices": choices, "usage": reply.billed}


def _choices(reply: Reply, shape: Shape, choice: JsonObject) -> Iterator[JsonObject]:
    delta = choice["delta"]
    if reply.tool_index == "zero" and "tool_calls" in delta:
        calls = [{**call, "index": 0} for call in delta["tool_calls"]]
        choice = {**choice, "delta": {**delta, "tool_calls": calls}}
    return ({**choice, "index": n} for n in range(shape.choices))
