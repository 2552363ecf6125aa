"""One client connection: uvicorn's, with limits on the head of a request.

uvicorn has none: a client that never ends its head would keep a connection for ever, or fill the
memory. The body's limits are the application's.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_PATIENCE = 30.0
"""Seconds from the first byte of a head, or from the connection, to the head's end."""
MAX_HEAD_BYTES = 64 * 1024
"""Several times what browsers and proxies send; nginx takes 32 KiB, Node.js 16 KiB."""
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class Connection(HttpToolsProtocol):
    """Closed when the next head is not whole in time, and with 431 when it is too large.

    What goes on coming after an answer that did not wait for it has as much time. All mutable
    state of its own: the timer, whether a head has begun, and how much came since.
    """

    patience = HEAD_PATIENCE

    def __init__(self, *args: Any, **options: Any) -> None:  # uvicorn's, handed on
        super().__init__(*args, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._is_in_head = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The client is there."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes, of a head or of a body."""
        super().data_received(data)
        self._head_bytes = self._head_bytes + len(data) if self._is_in_head else 0
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse()
        elif self._is_answering():
            self._stop_waiting()
        elif self._timer is None and not self.transport.is_closing():
            self._wait()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._is_in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._is_in_head = False
        super().on_headers_complete()

    def _is_answering(self) -> bool:
        cycle = getattr(self, "cycle", None)  # there is none before the first request
        return cycle is not None and not cycle.response_complete

    def _refuse(self) -> None:
        self._stop_waiting()
        # Between the parts of another answer it would be taken for one of them.
        if not self._is_answering():
            self.transport.write(_TOO_LARGE)
        self.transport.close()

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self.patience, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        self.transport.abort()  # `close` would wait for a client that reads nothing
