"""Chunks to Anthropic's server-sent events. Decides nothing, waits for nothing.

A message is a row of blocks, each opened, added to and closed. A tool call is closed when the
next thing begins and its arguments are whole; servers that mix the fragments of several calls
leave several blocks open, told apart by their index.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from app.errors import MoaError
from app.protocol.anthropic.answer import (
    Ending,
    Frame,
    arguments_text,
    called_function,
    usage_object,
)
from app.protocol.anthropic.errors import error_object
from app.protocol.chat import Batch
from app.protocol.dialect import HeartbeatStyle
from app.protocol.json_types import JsonObject

_PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_OPENINGS: dict[str, JsonObject] = {
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
    "text": {"type": "text", "text": ""},
}


@dataclass(slots=True)
class _Call:
    """A tool call under way; `block` is its index once it is open."""

    number: int
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    block: int | None = None
    closed: bool = False

    def is_whole(self) -> bool:
        """Whether its arguments are JSON that needs no more; none at all may still come."""
        try:
            orjson.loads("".join(self.arguments))
        except orjson.JSONDecodeError:
            return False
        return True


class MessageEvents:
    """The events of one streamed message, of the first choice alone.

    `input_tokens` is our estimate, said at the start; the counts at the end are the true ones.
    """

    def __init__(self, frame: Frame, *, input_tokens: int, request_id: str) -> None:
        self._frame = frame
        self._input_tokens = input_tokens
        self._request_id = request_id
        self._out: list[bytes] = []
        self._blocks = 0
        self._started = False
        self._saying = ""
        self._calls: dict[int, _Call] = {}
        self._finish_reason: str | None = None
        self._matched: object = None
        self._refused = False

    def encode(self, batch: Batch) -> bytes:
        """All events of a batch; empty where it only has what is not shown."""
        for chunk in batch:
            for choice in chunk.choices:
                if choice.get("index", 0) == 0:
                    self._add(choice)
        return self._taken()

    def finish(self, usage: JsonObject, moa: JsonObject | None) -> bytes:
        """The end of a whole message: its open blocks, why it ended, what it cost."""
        self._start()
        self._stop_saying()
        for call in self._calls.values():
            if call.block is None:
                self._open_call(call)
            self._close_call(call)
        ending = Ending(
            self._finish_reason, self._matched, calls=bool(self._calls), refused=self._refused
        )
        last = {"delta": ending.to_wire(self._frame), "usage": usage_object(usage)}
        self._event("message_delta", last if moa is None else {**last, "moa": moa})
        self._out.append(_STOP)
        return self._taken()

    def heartbeat(self, style: HeartbeatStyle) -> bytes:
        """A `ping`, which every client of this API knows, whatever style is set for chat."""
        if style == "off":
            return b""
        self._start()
        self._out.append(_PING)
        return self._taken()

    def failure(self, error: MoaError) -> bytes:
        """An error after the stream began; it is the last event, no `message_stop` follows."""
        self._out.clear()
        body = error_object(error, self._request_id)
        return b"event: error\ndata: " + orjson.dumps(body) + b"\n\n"

    def _add(self, choice: JsonObject) -> None:
        delta = choice.get("delta") or {}
        if self._frame.thinking:
            self._say("thinking", delta.get("reasoning_content") or delta.get("reasoning"))
        self._say("text", delta.get("content"))
        if (refusal := delta.get("refusal")) and isinstance(refusal, str):
            self._refused = True
            self._say("text", refusal)
        for position, fragment in enumerate(delta.get("tool_calls") or ()):
            if isinstance(fragment, dict):
                self._call(fragment, position)
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        self._matched = choice.get("stop_reason") or self._matched

    def _say(self, kind: str, said: object) -> None:
        """Add to the text or the reasoning; content parts are joined."""
        if isinstance(said, list):
            texts = [part.get("text") for part in said if isinstance(part, dict)]
            said = "".join(text for text in texts if isinstance(text, str))
        if not isinstance(said, str) or not said:
            return
        if self._saying != kind:
            self._stop_saying()
            self._close_whole_calls()
            self._open(_OPENINGS[kind])
            self._saying = kind
        self._out.append(
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":'
            b'{"type":"%s_delta","%s":%s}}\n\n'
            % (self._blocks - 1, kind.encode(), kind.encode(), orjson.dumps(said))
        )

    def _call(self, fragment: JsonObject, position: int) -> None:
        index = fragment.get("index")
        key = index if isinstance(index, int) else position
        function = called_function(fragment)
        self._stop_saying()
        call = self._calls.get(key)
        if call is None:
            self._close_whole_calls()
            call = self._calls[key] = _Call(len(self._calls))
        call.id = call.id or fragment.get("id") or ""
        call.name = call.name or function.get("name") or ""
        more = arguments_text(function)
        if more:
            call.arguments.append(more)
        if call.block is None and call.name:
            self._open_call(call)
        elif more and call.block is not None and not call.closed:
            self._arguments(call.block, more)

    def _open_call(self, call: _Call) -> None:
        name, call_id = call.name, call.id or self._frame.call_id(call.number)
        call.block = self._open({"type": "tool_use", "id": call_id, "name": name, "input": {}})
        if call.arguments:
            self._arguments(call.block, "".join(call.arguments))

    def _arguments(self, block: int, more: str) -> None:
        delta = {"type": "input_json_delta", "partial_json": more}
        self._event("content_block_delta", {"index": block, "delta": delta})

    def _close_whole_calls(self) -> None:
        for call in self._calls.values():
            if call.block is not None and not call.closed and call.is_whole():
                self._close_call(call)

    def _close_call(self, call: _Call) -> None:
        if not call.closed:
            call.closed = True
            self._event("content_block_stop", {"index": call.block})

    def _open(self, block: JsonObject) -> int:
        self._start()
        index, self._blocks = self._blocks, self._blocks + 1
        self._event("content_block_start", {"index": index, "content_block": block})
        return index

    def _stop_saying(self) -> None:
        if self._saying:
            self._saying = ""
            self._event("content_block_stop", {"index": self._blocks - 1})

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        usage = {"input_tokens": self._input_tokens, "output_tokens": 0}
        empty: JsonObject = {
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
        }
        self._event("message_start", {"message": {**self._frame.head(), **empty, "usage": usage}})

    def _event(self, name: str, fields: JsonObject) -> None:
        data = orjson.dumps({"type": name, **fields})
        self._out.append(b"event: %s\ndata: %s\n\n" % (name.encode(), data))

    def _taken(self) -> bytes:
        taken = b"".join(self._out)
        self._out.clear()
        return taken
