"""Bytes of an answer to chunks: what kind of body it is, what it says, whether it is whole.

No I/O. The body itself says what it is: content types lie, and an upstream may answer a request
for a stream with plain JSON or the other way round.
"""

from __future__ import annotations

import orjson

from app.errors import UpstreamError
from app.protocol.answer import Answer
from app.protocol.chat import Chunk
from app.protocol.completion import (
    ToolNumbers,
    chunk_from_completion,
    chunk_from_event,
    error_in,
)
from app.protocol.json_types import JsonObject
from app.protocol.nesting import is_too_deep
from app.protocol.sse import EventTooLong, SseDecoder
from app.protocol.tokens import BYTES_PER_TOKEN
from app.protocol.usage import Usage
from app.upstream.errors import ErrorTranslator

MAX_BODY_BYTES = 32 * 1024 * 1024
"""A whole answer is text; with audio or images inside it may reach some megabytes. There is no such
end to what is handed on as it comes, since it is not kept."""

_BLANK = b"\xef\xbb\xbf \t\r\n"
_TEXTS = frozenset({"content", "reasoning_content", "reasoning", "refusal"})


class AnswerReader:
    """Reads one answer. Every method raises UpstreamError where there is none, or an error in it.

    `whole` asks for one chunk at the end, whatever comes.

    All mutable state: `done`, nothing more is to be read, because of `[DONE]` or of `_failure`,
    which `end` raises so that what came before it in the same read is not lost; `usage` as last
    reported; how much text was seen; which choices are finished; the body so far, in `_decoder`
    if it is an event stream and in `_body` if it is not.
    """

    def __init__(self, errors: ErrorTranslator, *, whole: bool) -> None:
        self.done = False
        self.usage: Usage | None = None
        self._errors = errors
        self._failure: UpstreamError | None = None
        self._decoder: SseDecoder | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._tools = ToolNumbers()
        self._finished: dict[int, bool] = {}
        self._text_bytes = 0
        self._whole = Answer() if whole else None

    @property
    def is_complete(self) -> bool:
        """Something was said, and every choice that began was finished or `[DONE]` came."""
        if self._failure is not None or not self._finished:
            return False
        return self.done or all(self._finished.values())

    @property
    def estimated_tokens(self) -> int:
        """Completion tokens by the text seen so far."""
        return -(-self._text_bytes // BYTES_PER_TOKEN)

    def feed(self, data: bytes) -> list[Chunk]:
        """The chunks that these bytes complete."""
        self._size += len(data)
        if self._size > MAX_BODY_BYTES and (self._decoder is None or self._whole is not None):
            raise self._errors.malformed("sent more than an answer can hold")
        if self._decoder is None:
            return self._begin(data)
        return self._understand(self._decoder, data)

    def end(self) -> list[Chunk]:
        """The last chunks of a body that is over; UpstreamMalformed if it is not whole."""
        if self._failure is not None:
            raise self._failure
        if self._decoder is None:
            return [self._completion(b"".join(self._body).lstrip(_BLANK))]
        chunks = [] if self.done else self._read(_unbroken(self._decoder.end()))
        if not self.is_complete:
            what = "broke off in the middle" if self._finished else "answered without an answer"
            raise self._errors.malformed(what, b"the stream ended too early")
        return chunks if self._whole is None else [self._put_together(self._whole)]

    def _begin(self, data: bytes) -> list[Chunk]:
        """Until the first visible byte tells JSON from events; JSON is kept to its end."""
        if self._body:
            self._body.append(data)
            return []
        head = data.lstrip(_BLANK)
        if head[:1] in (b"{", b"["):
            self._body.append(head)
        elif head[:1] == b"<":
            raise self._errors.malformed("answered with a page instead of JSON", head)
        elif head:
            self._decoder = SseDecoder()
            return self._understand(self._decoder, head)
        return []

    def _understand(self, decoder: SseDecoder, data: bytes) -> list[Chunk]:
        try:
            payloads = decoder.feed(data)
        except EventTooLong as too_long:
            return self._cut_short(too_long)
        return self._read(payloads) if payloads else []

    def _cut_short(self, too_long: EventTooLong) -> list[Chunk]:
        chunks = self._read(too_long.before)
        if self.done:
            return chunks
        self._failure, self.done = self._errors.malformed("sent an event without an end"), True
        if not chunks:
            raise self._failure from None
        return chunks

    def _read(self, payloads: list[bytes]) -> list[Chunk]:
        chunks: list[Chunk] = []
        try:
            for payload in payloads:
                if payload.startswith(b"[DONE]"):
                    self.done = True
                    break
                chunk = chunk_from_event(self._object(payload), self._tools)
                if chunk is not None:
                    self._account(chunk)
                    chunks.append(chunk)
        except UpstreamError as failure:
            self._failure, self.done = failure, True
            if not chunks:
                raise
        if self._whole is None:
            return chunks
        self._whole.add(chunks)
        return []

    def _completion(self, body: bytes) -> Chunk:
        chunk = chunk_from_completion(self._object(body))
        if chunk is None:
            raise self._errors.malformed("answered without an answer", body)
        self._account(chunk)
        return chunk

    def _object(self, raw: bytes) -> JsonObject:
        """The JSON object of an event or a body; Google wraps errors into a list."""
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise self._errors.malformed("sent something that is no JSON", raw) from None
        if type(value) is list and value:
            value = value[0]
        if type(value) is not dict or is_too_deep(raw, value):
            raise self._errors.malformed("sent JSON that is no answer", raw)
        if value.get("error") or value.get("object") == "error":
            raise self._errors.inside(error_in(value) or {})
        return value

    def _account(self, chunk: Chunk) -> None:
        if chunk.usage is not None:
            self.usage = chunk.usage
        finished = self._finished
        for choice in chunk.choices:
            index = choice["index"]
            reason = choice["finish_reason"]
            if reason == "error":
                raise self._errors.inside(error_in({"choices": [choice]}) or {})
            if reason:
                finished[index] = True
            elif index not in finished:
                finished[index] = False
            for name, value in choice["delta"].items():
                if name in _TEXTS:
                    if type(value) is str:
                        self._text_bytes += len(value.encode())
                elif name == "tool_calls":
                    self._text_bytes += len(orjson.dumps(value))

    def _put_together(self, answer: Answer) -> Chunk:
        """The one chunk of a stream that nobody asked for."""
        chunk = chunk_from_completion(answer.to_wire(id="", created=0, model="", usage=None))
        if chunk is None:
            raise self._errors.malformed("answered without an answer")
        return Chunk(chunk.choices, self.usage, chunk.extras)


def _unbroken(payloads: list[bytes]) -> list[bytes]:
    """Without what was cut short: the last event of a stream that ends without a blank line."""
    return [each for each in payloads if each.startswith(b"[DONE]") or _is_json(each)]


def _is_json(payload: bytes) -> bool:
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError:
        return False
    return True
