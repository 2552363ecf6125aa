"""What every way of answering a chat has in common: OpenAI's chunks are one, others follow.

A dialect turns batches into the bytes of an event stream, and a whole answer into a JSON object.
It waits for nothing and knows no socket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

from app.errors import MoaError
from app.protocol.answer import Answer
from app.protocol.chat import Batch
from app.protocol.json_types import JsonObject

HeartbeatStyle: TypeAlias = Literal["comment", "delta", "off"]
COMMENT = b": still working\n\n"


class StreamDialect(Protocol):
    """The events of one streamed answer, in order."""

    def encode(self, batch: Batch) -> bytes:
        """All events of a batch; may be empty."""

    def finish(self, usage: JsonObject, moa: JsonObject | None) -> bytes:
        """The end of a whole answer; `usage` is OpenAI's object, `moa` our extension."""

    def heartbeat(self, style: HeartbeatStyle) -> bytes:
        """A sign of life while there is nothing to say; may be empty."""

    def failure(self, error: MoaError) -> bytes:
        """The last event of an answer that is not whole."""


WholeDialect: TypeAlias = Callable[[Answer, JsonObject, JsonObject | None], JsonObject]
"""A whole answer, its usage and the `moa` extension as the JSON object of a response."""
