"""The output items of a streamed response while they grow, each telling its own events in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import orjson

from app.protocol.json_types import JsonObject
from app.protocol.responses.output import call_item, message_item, reasoning_item, text_part


class Say(Protocol):
    """Sends one event."""

    def __call__(self, kind: str, /, **fields: object) -> None:
        """`kind` without its `response.`."""


class Piece(Protocol):
    """An item that is being made."""

    open: bool

    @property
    def is_whole(self) -> bool:
        """Nothing that belongs to it can follow once another item begins."""

    def item(self, status: str) -> JsonObject:
        """The item as it is now."""

    def close(self, status: str) -> None:
        """Tell its end."""


class Thought:
    """A reasoning item with one summary."""

    is_whole = True

    def __init__(self, item_id: str, index: int, say: Say) -> None:
        self.open = True
        self._id, self._say = item_id, say
        self._place = {"item_id": item_id, "output_index": index}
        self._texts: list[str] = []
        say("output_item.added", output_index=index, item=self.item("in_progress"))
        self._tell("part.added", part={"type": "summary_text", "text": ""})

    def add(self, text: str) -> None:
        """More of it."""
        self._texts.append(text)
        self._tell("text.delta", delta=text)

    def item(self, status: str) -> JsonObject:
        """The item as it is now."""
        return reasoning_item(self._id, "".join(self._texts), status)

    def close(self, status: str) -> None:
        """Tell its end."""
        self.open = False
        text = "".join(self._texts)
        self._tell("text.done", text=text)
        self._tell("part.done", part={"type": "summary_text", "text": text})
        index = self._place["output_index"]
        self._say("output_item.done", output_index=index, item=self.item(status))

    def _tell(self, kind: str, **fields: object) -> None:
        self._say(f"reasoning_summary_{kind}", **self._place, summary_index=0, **fields)


class Message:
    """A message; its parts are texts and refusals, of which the last one grows."""

    is_whole = True

    def __init__(self, item_id: str, index: int, say: Say) -> None:
        self.open = True
        self._id, self._say = item_id, say
        self._place = {"item_id": item_id, "output_index": index}
        self._parts: list[JsonObject] = []
        self._kind = ""
        self._texts: list[str] = []
        self._logprobs: list[JsonObject] = []
        say("output_item.added", output_index=index, item=self.item("in_progress"))

    def add_text(self, text: str, logprobs: Sequence[JsonObject]) -> None:
        """More text."""
        self._turn_to("output_text")
        self._texts.append(text)
        self._logprobs += logprobs
        self._tell("output_text.delta", delta=text, logprobs=logprobs)

    def add_refusal(self, text: str) -> None:
        """More of a refusal."""
        self._turn_to("refusal")
        self._texts.append(text)
        self._tell("refusal.delta", delta=text)

    def item(self, status: str) -> JsonObject:
        """The item as it is now."""
        growing = [self._part()] if self._kind else []
        return message_item(self._id, [*self._parts, *growing], status)

    def close(self, status: str) -> None:
        """Tell its end."""
        self.open = False
        self._turn_to("")
        index = self._place["output_index"]
        self._say("output_item.done", output_index=index, item=self.item(status))

    def _turn_to(self, kind: str) -> None:
        if kind == self._kind:
            return
        if self._kind:
            self._end_part()
        self._kind, self._texts, self._logprobs = kind, [], []
        if kind:
            self._tell("content_part.added", part=self._part())

    def _end_part(self) -> None:
        part = self._part()
        if self._kind == "refusal":
            self._tell("refusal.done", refusal=part["refusal"])
        else:
            self._tell("output_text.done", text=part["text"], logprobs=part["logprobs"])
        self._tell("content_part.done", part=part)
        self._parts.append(part)

    def _part(self) -> JsonObject:
        text = "".join(self._texts)
        if self._kind == "refusal":
            return {"type": "refusal", "refusal": text}
        return text_part(text, self._logprobs)

    def _tell(self, kind: str, **fields: object) -> None:
        self._say(kind, **self._place, content_index=len(self._parts), **fields)


class Call:
    """A function call."""

    def __init__(self, item_id: str, index: int, say: Say, *, call_id: str, name: str) -> None:
        self.open = True
        self.call_id = call_id
        self._id, self._name, self._say = item_id, name, say
        self._place = {"item_id": item_id, "output_index": index}
        self._arguments: list[str] = []
        say("output_item.added", output_index=index, item=self.item("in_progress"))

    @property
    def is_whole(self) -> bool:
        """Its arguments are a JSON object, which nothing can continue."""
        try:
            return isinstance(orjson.loads("".join(self._arguments)), dict)
        except orjson.JSONDecodeError:
            return False

    def add(self, arguments: str) -> None:
        """More of its arguments; white space behind the end of a call is nothing."""
        if self.open:
            self._arguments.append(arguments)
            self._say("function_call_arguments.delta", **self._place, delta=arguments)

    def item(self, status: str) -> JsonObject:
        """The item as it is now."""
        return call_item(self._id, self.call_id, self._name, "".join(self._arguments), status)

    def close(self, status: str) -> None:
        """Tell its end."""
        self.open = False
        item, index = self.item(status), self._place["output_index"]
        self._say("function_call_arguments.done", **self._place, arguments=item["arguments"])
        self._say("output_item.done", output_index=index, item=item)
