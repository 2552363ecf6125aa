"""The seam between the gateway and an HTTP client: POST, read the answer piece by piece, close.

A transport knows connections, never chat. It follows no redirect, keeps no cookie, reads no
environment variable, and raises nothing but the `TransportError`s below.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import ClassVar, Protocol

from app.upstream.egress import REFUSED
from app.upstream.spec import Timeouts

KEEP_ALIVE = 90.0
"""Seconds an idle connection is kept; below the time-outs of common load balancers."""

LINGER = 0.5
"""Seconds given to the end of a body whose content is complete, so its connection is kept."""

READ_BUFFER = 64 * 1024
"""Bytes of a body read ahead of whoever reads it; twice this much stops the upstream."""


class TransportError(Exception):
    """No answer, or no whole one. The text is for logs; it may hold addresses.

    `maybe_billed`: the upstream may have worked on the request.
    """

    maybe_billed: ClassVar[bool] = False


class NotConnected(TransportError):
    """No connection: refused, unknown host, TLS, proxy."""


class Refused(NotConnected):
    """No connection: the guard refuses the address, see `app.upstream.egress`."""


class ConnectTimeout(TransportError):
    """No connection in time."""


class Disconnected(TransportError):
    """The connection was lost under way."""


class ReadTimeout(TransportError):
    """The upstream was silent for too long."""

    maybe_billed = True


class Unreadable(TransportError):
    """What came is not HTTP, or its encoding is broken."""


class Response(Protocol):
    """An answer whose head has come. Exactly one of `finish` and `abort` ends it."""

    @property
    def status(self) -> int:
        """The HTTP status; redirects are not followed."""

    def header(self, name: str) -> str | None:
        """One header of the answer."""

    async def read(self) -> bytes:
        """What has come since the last read, decompressed; empty at the end of the body.

        Raises ReadTimeout after `first_token` seconds without a byte, later after `idle`;
        Disconnected when the body is cut; Unreadable.
        """

    async def finish(self) -> None:
        """Nothing more is wanted of a complete answer: its connection is kept if it can be."""

    async def abort(self) -> None:
        """Close the connection at once; waits for nothing, also when cancelled."""


class Endpoint(Protocol):
    """One address of an upstream, with everything prepared that is the same for every call."""

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Response:
        """Send a request and wait for the head of its answer; raises TransportError.

        `headers` are all headers of the request.
        """

    async def get(self, headers: Mapping[str, str]) -> Response:
        """The same without a body; for probes."""


class Transport(Protocol):
    """A pool of connections. One per process, proxy and CA file; never one per request."""

    def endpoint(self, url: str, query: Mapping[str, str], timeouts: Timeouts) -> Endpoint:
        """Prepare an address; opens nothing."""

    async def aclose(self) -> None:
        """Close every connection."""


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """The system's authorities, and those of a PEM file; raises OSError or ssl.SSLError."""
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


def translated(
    error: Exception,
    kinds: Mapping[type[Exception], type[TransportError]],
    *,
    text: str | None = None,
) -> TransportError:
    """A client library's error as ours: the first kind that fits, else a lost connection.

    `text` stands for the error's own words where those tell too much.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno == REFUSED:
            return Refused(str(cause.strerror))
        cause = cause.__cause__
    said = f"{type(error).__name__}: {error if text is None else text}"
    for theirs, ours in kinds.items():
        if isinstance(error, theirs):
            return ours(said)
    return Disconnected(said)
