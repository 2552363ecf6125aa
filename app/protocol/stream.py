"""Chunks to server-sent events, as OpenAI sends them. Decides nothing, waits for nothing.

Every event starts with the same bytes (`id`, `created` and `model` are ours), so an event costs
one `orjson.dumps` of its choices.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from app.errors import MoaError
from app.protocol.chat import Batch, Chunk
from app.protocol.dialect import COMMENT, HeartbeatStyle
from app.protocol.error_body import error_bytes
from app.protocol.json_types import JsonObject

_DONE = b"data: [DONE]\n\n"
_OURS = frozenset({"id", "object", "created", "model", "choices", "usage", "moa"})


class ChunkEncoder:
    """The events of one stream. `created` is in Unix seconds, `model` the requested name.

    With `include_usage`, every chunk has `"usage": null` and `finish` sends the one usage chunk.
    Without it, the chunk with the last finish_reason is kept until `finish`, because what the
    gateway has to say about the run (`moa`) belongs on the last chunk and is not known before.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - the wire's name
        created: int,
        model: str,
        *,
        include_usage: bool = False,
    ) -> None:
        head = {"id": id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._head = b"data: " + orjson.dumps(head)[:-1] + b',"choices":'
        self._usage = b',"usage":null' if include_usage else b""
        self._include_usage = include_usage
        self._begun: set[int] = set()
        self._kept: bytes = b""
        self._homeless: JsonObject = {}

    def encode(self, batch: Batch) -> bytes:
        """All events of a batch; may be empty.

        An upstream's usage is left out. Extras of a chunk without choices go on the next chunk:
        clients read `choices[0]` of every chunk but the usage chunk.
        """
        events = b""
        for chunk in batch:
            if not chunk.choices:
                extras = chunk.extras
                self._homeless.update({key: extras[key] for key in extras if key not in _OURS})
                continue
            event = self._event(chunk)
            if self._kept:
                events += self._release()
            if not self._include_usage and _finishes(chunk):
                self._kept = event
            else:
                events += event
        return events

    def finish(self, usage: JsonObject, moa: JsonObject | None = None) -> bytes:
        """The end of a whole answer: what was kept, the usage chunk if asked for, `[DONE]`."""
        own = b"" if moa is None else b',"moa":' + orjson.dumps(moa)
        if self._include_usage:
            own = b',"usage":' + orjson.dumps(usage) + own
            last = self._head + b"[]" + self._extras({}) + own + b"}\n\n"
        elif self._kept:
            last = self._kept[:-3] + own + b"}\n\n"
        else:
            last = self._head + b"[]" + own + b"}\n\n" if own else b""
        return last + _DONE

    def failure(self, error: MoaError) -> bytes:
        """An error after the stream began; it is the last event, no `[DONE]` follows."""
        return b"data: " + error_bytes(error) + b"\n\n"

    def heartbeat(self, style: HeartbeatStyle) -> bytes:
        """A sign of life: a comment, or an empty delta for clients that choke on comments."""
        if style == "comment":
            return COMMENT
        if style == "off":
            return b""
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": None}
        return self._event(Chunk((choice,)))

    def _event(self, chunk: Chunk) -> bytes:
        choices = chunk.choices
        for choice in choices:
            if choice.get("index", 0) not in self._begun or "role" in (choice.get("delta") or ()):
                choices = [self._opened(each) for each in choices]
                break
        extras = self._extras(chunk.extras) if chunk.extras or self._homeless else b""
        return b"".join((self._head, orjson.dumps(choices), extras, self._usage, b"}\n\n"))

    def _opened(self, choice: JsonObject) -> JsonObject:
        """A choice's first delta, and no other, has the role: SDKs join the roles they are sent.

        The first one also numbers its tool calls, which messages do not: a model that does not
        stream answers with whole messages.
        """
        index, delta = choice.get("index", 0), choice.get("delta") or {}
        if index in self._begun:
            rest = {name: value for name, value in delta.items() if name != "role"}
            return {**choice, "delta": rest} if "role" in delta else choice
        self._begun.add(index)
        delta = {"role": "assistant", **delta}
        delta["role"] = delta["role"] or "assistant"
        if delta.get("tool_calls"):
            calls = enumerate(delta["tool_calls"])
            delta["tool_calls"] = [{"index": number, **call} for number, call in calls]
        return {**choice, "index": index, "delta": delta}

    def _extras(self, extras: Mapping[str, object]) -> bytes:
        """Extras as the inside of an object, with a comma before it."""
        merged = {key: extras[key] for key in extras if key not in _OURS}
        if self._homeless:
            merged = {**self._homeless, **merged}
            self._homeless = {}
        return b"," + orjson.dumps(merged)[1:-1] if merged else b""

    def _release(self) -> bytes:
        kept, self._kept = self._kept, b""
        return kept


def _finishes(chunk: Chunk) -> bool:
    for choice in chunk.choices:  # noqa: SIM110 - any() makes a generator for every token
        if choice.get("finish_reason"):
            return True
    return False
