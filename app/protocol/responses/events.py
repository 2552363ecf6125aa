"""A streamed answer as OpenAI's typed events: `event:` and `data:`, numbered, and no `[DONE]`.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from typing import TypeVar

import orjson

from app.errors import MoaError
from app.protocol.chat import Batch
from app.protocol.dialect import COMMENT, HeartbeatStyle
from app.protocol.json_types import JsonObject
from app.protocol.responses.output import (
    UNDER_WAY,
    Ending,
    Head,
    ended,
    failed,
    logprobs_in,
    response_object,
    text_in,
)
from app.protocol.responses.pieces import Call, Message, Piece, Thought

PieceT = TypeVar("PieceT", Thought, Message)


class ResponseEvents:
    """The events of one response.

    An item ends when the next one begins: what is thought or said then goes on in a new item. Only
    a call whose arguments are not whole stays open. All mutable state: the events not yet handed
    out and their number; the items, and the calls by the upstream's index; what begins a call
    whose name is not known yet; how the answer ended and its other fields.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        self._said: list[bytes] = []
        self._number = 0
        self._pieces: list[Piece] = []
        self._calls: dict[object, Call] = {}
        self._nameless: dict[object, JsonObject] = {}
        self._ending = ended(None)
        self._extras: JsonObject = {}

    def encode(self, batch: Batch) -> bytes:
        """All events of a batch; of several choices the first."""
        self._begin()
        for chunk in batch:
            if chunk.extras:
                self._extras.update(chunk.extras)
            for choice in chunk.choices:
                if choice.get("index", 0) == 0:
                    self._take(choice)
        return self._hand_out()

    def result(self, usage: JsonObject, moa: JsonObject | None) -> JsonObject:
        """The response object of what has come, which is all there is."""
        output = self._items(self._ending)
        return response_object(
            self._head, self._ending, output, extras=self._extras, usage=usage, moa=moa
        )

    def finish(self, usage: JsonObject, moa: JsonObject | None) -> bytes:
        """The end of a whole answer: `response.completed`, or `response.incomplete`."""
        self._begin()
        for piece, item in zip(self._pieces, self._items(self._ending), strict=True):
            if piece.open:
                piece.close(item["status"])
        self._say(self._ending.status, response=self.result(usage, moa))
        return self._hand_out()

    def failure(self, error: MoaError) -> bytes:
        """`response.failed` with what there is; it is the last event."""
        self._begin()
        ending = failed(error)
        response = response_object(self._head, ending, self._items(ending), extras=self._extras)
        self._say("failed", response=response)
        return self._hand_out()

    def heartbeat(self, style: HeartbeatStyle) -> bytes:
        """A sign of life; the first one tells the id, in case nothing has been said yet."""
        if not self._begin() and style == "comment":
            return COMMENT
        if not self._said and style == "delta":
            self._say("in_progress", response=self._so_far())
        return self._hand_out()

    def _begin(self) -> bool:
        if self._number:
            return False
        self._say("created", response=self._so_far())
        self._say("in_progress", response=self._so_far())
        return True

    def _so_far(self) -> JsonObject:
        return response_object(self._head, UNDER_WAY, ())

    def _items(self, ending: Ending) -> list[JsonObject]:
        """The last item is what the answer's ending cut, if it cut anything."""
        items = [piece.item("completed") for piece in self._pieces]
        if items and ending.status != "completed":
            items[-1]["status"] = "incomplete"
        return items

    def _take(self, choice: JsonObject) -> None:
        delta = choice.get("delta") or {}
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if reasoning and isinstance(reasoning, str):
            self._open(Thought, "rs").add(reasoning)
        if text := text_in(delta.get("content")):
            self._open(Message, "msg").add_text(text, logprobs_in(choice))
        refusal = delta.get("refusal")
        if refusal and isinstance(refusal, str):
            self._open(Message, "msg").add_refusal(refusal)
        for fragment in delta.get("tool_calls") or ():
            self._take_call(fragment)
        if reason := choice.get("finish_reason"):
            self._ending = ended(reason)

    def _take_call(self, fragment: JsonObject) -> None:
        """Add to the call at the fragment's index, or begin one as soon as its name is known.

        A name without an index, or with another id, is another call: of whole messages, and of
        upstreams that number badly.
        """
        index, call_id = fragment.get("index"), fragment.get("id")
        function = fragment.get("function") or {}
        name, arguments = function.get("name"), function.get("arguments") or ""
        call = None if index is None and name else self._calls.get(index)
        if call is None or (name and call_id and call_id != call.call_id):
            waiting = self._nameless.pop(index, {"id": None, "arguments": ""})
            call_id, arguments = call_id or waiting["id"], waiting["arguments"] + arguments
            if not name:
                self._nameless[index] = {"id": call_id, "arguments": arguments}
                return
            call = self._open_call(call_id, name)
        self._calls[index] = self._calls[None] = call
        if arguments:
            call.add(arguments)

    def _open_call(self, call_id: str | None, name: str) -> Call:
        index = len(self._pieces)
        call_id = call_id or self._head.call_id(index)
        self._end_whole()
        item_id = self._head.item_id("fc", index)
        call = Call(item_id, index, self._say, call_id=call_id, name=name)
        self._pieces.append(call)
        return call

    def _open(self, kind: type[PieceT], prefix: str) -> PieceT:
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, kind) and last.open:
            return last
        self._end_whole()
        index = len(self._pieces)
        piece = kind(self._head.item_id(prefix, index), index, self._say)
        self._pieces.append(piece)
        return piece

    def _end_whole(self) -> None:
        for piece in self._pieces:
            if piece.open and piece.is_whole:
                piece.close("completed")

    def _say(self, kind: str, /, **fields: object) -> None:
        name = f"response.{kind}"
        data = orjson.dumps({"type": name, "sequence_number": self._number, **fields})
        self._said.append(b"event: %b\ndata: %b\n\n" % (name.encode(), data))
        self._number += 1

    def _hand_out(self) -> bytes:
        events = b"".join(self._said)
        self._said.clear()
        return events
