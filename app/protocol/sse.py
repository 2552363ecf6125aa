"""An incremental decoder of server-sent events: bytes in, `data` payloads out. No I/O, no JSON.

Grammar: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
Two differences, both on purpose: payloads stay bytes, and an event whose data is empty is none.
"""

from __future__ import annotations

MAX_EVENT_BYTES = 8 * 1024 * 1024
"""An event carries a token or an image; anything longer is an attack or no event stream."""

_BOM = b"\xef\xbb\xbf"


class EventTooLong(ValueError):
    """An event is longer than the limit; `before` are the payloads that the same bytes completed.

    Which events come before it, and that it comes, does not depend on how the bytes were cut.
    """

    def __init__(self, limit: int, before: list[bytes]) -> None:
        super().__init__(f"an event of more than {limit} bytes")
        self.before = before


class SseDecoder:
    """The events of one stream, however its bytes were cut.

    All mutable state: `_pending`, an event that has not ended (line ends already unified, no
    empty line before it); `_after_cr`, whether the last byte was a CR whose LF may follow;
    `_at_start`, whether a byte order mark may still come.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._limit = max_event_bytes
        self._pending = bytearray()
        self._after_cr = False
        self._at_start = True

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads of all events that these bytes complete.

        Raises EventTooLong when an event, finished or not, holds more bytes than allowed; there
        is no reading on after that.
        """
        if self._after_cr or b"\r" in data:
            data = self._unify(data)
        if self._pending:
            joins_blank = data.startswith(b"\n") and self._pending.endswith(b"\n")
            if not joins_blank and b"\n\n" not in data:
                self._keep(data, [])
                return []
            data = bytes(self._pending) + data
            self._pending.clear()
        block, blank, rest = data.rpartition(b"\n\n")
        payloads = self._payloads(block) if blank else []
        if rest:
            self._keep(rest, payloads)
        return payloads

    def end(self) -> list[bytes]:
        """The payload of a last event that no blank line ended; the stream is over.

        The grammar drops such an event. Servers forget the blank line after `[DONE]`, so it is
        handed out, and whoever reads it must expect that it was cut short.
        """
        block = bytes(self._pending)
        self._pending.clear()
        return self._payloads(block)

    def _keep(self, data: bytes, payloads: list[bytes]) -> None:
        if not self._pending and data.startswith(b"\n"):
            self._at_start = False
            data = data[1:]
        self._pending += data
        if len(self._pending) - self._pending.endswith(b"\n") > self._limit:
            raise EventTooLong(self._limit, payloads)

    def _unify(self, data: bytes) -> bytes:
        """Every line end as LF; the LF of a CRLF that was cut in two belongs to its CR."""
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _payloads(self, block: bytes) -> list[bytes]:
        events = block.split(b"\n\n")
        long = self._first_long(events) if len(block) > self._limit else None
        if self._at_start:
            self._at_start = False
            events[0] = events[0].removeprefix(_BOM)
        payloads = []
        for event in events[:long]:
            if event.startswith(b"data: ") and b"\n" not in event:
                payload = event[6:]
            else:
                payload = _data(event)
            if payload:
                payloads.append(payload)
        if long is not None:
            raise EventTooLong(self._limit, payloads)
        return payloads

    def _first_long(self, events: list[bytes]) -> int | None:
        sizes = (len(event.strip(b"\n")) for event in events)
        return next((at for at, size in enumerate(sizes) if size > self._limit), None)


def _data(event: bytes) -> bytes:
    """The data of an event with several lines, comments or other fields; empty if it has none."""
    lines = []
    for line in event.split(b"\n"):
        if line.startswith(b"data:"):
            lines.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line == b"data":
            lines.append(b"")
    return b"\n".join(lines)
