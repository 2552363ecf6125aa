"""An incremental decoder of server-sent events: bytes in, `data` payloads out. No I/O, no JSON.

Grammar: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
Two differences, both on purpose: payloads stay bytes, and an event whose data is empty is none.
"""

from __future__ import annotations

MAX_EVENT_BYTES = 8 * 1024 * 1024
"""An event carries a token or an image; anything longer is an attack or no event stream."""

_BOM = b"\xef\xbb\xbf"


class EventTooLong(ValueError):
    """An event grew beyond the limit before it ended."""


class SseDecoder:
    """The events of one stream, however its bytes were cut.

    All mutable state: `_pending`, the pieces of an event that has not ended (line ends already
    unified) and their size; `_after_cr`, whether the last byte was a CR whose LF may follow;
    `_at_start`, whether a byte order mark may still come.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._limit = max_event_bytes
        self._pending: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._at_start = True

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads of all events that these bytes complete.

        Raises EventTooLong when an unfinished event holds more bytes than allowed.
        """
        if self._after_cr or b"\r" in data:
            data = self._unify(data)
        if self._pending:
            joins_blank = data.startswith(b"\n") and self._pending[-1].endswith(b"\n")
            if not joins_blank and b"\n\n" not in data:
                self._keep(data)
                return []
            data = b"".join((*self._pending, data))
            self._pending.clear()
            self._size = 0
        block, blank, rest = data.rpartition(b"\n\n")
        if rest:
            self._keep(rest)
        return self._payloads(block) if blank else []

    def end(self) -> list[bytes]:
        """The payload of a last event that no blank line ended; the stream is over.

        The grammar drops such an event. Servers forget the blank line after `[DONE]`, so it is
        handed out, and whoever reads it must expect that it was cut short.
        """
        block = b"".join(self._pending)
        self._pending.clear()
        self._size = 0
        return self._payloads(block)

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit:
            raise EventTooLong(f"an event of more than {self._limit} bytes")
        if data:
            self._pending.append(data)

    def _unify(self, data: bytes) -> bytes:
        """Every line end as LF; the LF of a CRLF that was cut in two belongs to its CR."""
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _payloads(self, block: bytes) -> list[bytes]:
        if self._at_start:
            self._at_start = False
            block = block.removeprefix(_BOM)
        payloads = []
        for event in block.split(b"\n\n"):
            if event.startswith(b"data: ") and b"\n" not in event:
                payload = event[6:]
            else:
                payload = _data(event)
            if payload:
                payloads.append(payload)
        return payloads


def _data(event: bytes) -> bytes:
    """The data of an event with several lines, comments or other fields; empty if it has none."""
    lines = []
    for line in event.split(b"\n"):
        if line.startswith(b"data:"):
            lines.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line == b"data":
            lines.append(b"")
    return b"\n".join(lines)
