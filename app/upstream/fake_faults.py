"""What ASGI has no words for, done to the server's transport: resets, bytes that are no HTTP.

The transport is uvicorn's, found on the request's cycle; no other server is supported here.
"""

from __future__ import annotations

import asyncio
import socket
import struct

NO_LINGER = struct.pack("ii", 1, 0)
"""`struct linger`: on, 0 s. Closing such a socket sends RST instead of FIN (socket(7))."""

NOISE = b"\x16\x03\x01\x00\xa5\x00garbage\xff\xfe\x00\r\n\r\n\x80\x81 not HTTP at all\r\n"
HALF_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-str"


def reset(transport: asyncio.Transport) -> None:
    """Break the connection off: the other side reads what has been sent, then an error."""
    found = transport.get_extra_info("socket")
    if found is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    transport.abort()


def make_noise(transport: asyncio.Transport) -> None:
    """Send what no HTTP parser accepts, at the head of a response as well as between its chunks."""
    transport.write(NOISE)
    transport.close()
