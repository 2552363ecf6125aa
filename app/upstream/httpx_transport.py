"""The second transport, on httpx: for what aiohttp cannot do, and for tests without a socket.

It talks to an httpx transport directly: no client, so no cookies, redirects, or environment. It
costs several times what aiohttp costs under fan-out; that is no mistake of this file.

httpx closes connections inside anyio's shields, and `Task.cancel` breaks through them: then it
would never close the connection, and the upstream would be at work for ever. Hence `apart`.
"""

from __future__ import annotations

import ssl
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import cast

import anyio
import httpx

from app.upstream.apart import apart
from app.upstream.egress import Egress
from app.upstream.guarded_backend import GuardedBackend
from app.upstream.spec import Timeouts
from app.upstream.transport import (
    KEEP_ALIVE,
    LINGER,
    READ_BUFFER,
    ConnectTimeout,
    NotConnected,
    ReadTimeout,
    TransportError,
    Unreadable,
    translated,
)

_LINGER_BYTES = 64 * 1024


class HttpxTransport:
    """One pool. `inner` replaces the real one by `httpx.MockTransport` or `ASGITransport`."""

    def __init__(
        self,
        context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        egress: Egress | None = None,
        *,
        inner: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.inner = inner or _Guarded(context, proxy, egress or Egress())

    def endpoint(self, url: str, query: Mapping[str, str], timeouts: Timeouts) -> HttpxEndpoint:
        """Prepare an address; opens nothing."""
        address = httpx.URL(url)
        return HttpxEndpoint(
            self, address.copy_merge_params(dict(query)) if query else address, timeouts
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self.inner.aclose()


class _Guarded(httpx.AsyncHTTPTransport):
    """httpx's own, on a network that knows the guard; httpx has no argument for that."""

    def __init__(self, context: ssl.SSLContext | None, proxy: str | None, egress: Egress) -> None:
        super().__init__(
            verify=context or ssl.create_default_context(),
            trust_env=False,
            proxy=proxy,
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEP_ALIVE
            ),
        )
        self._pool._network_backend = GuardedBackend(egress)  # noqa: SLF001 - no other way in


class HttpxEndpoint:
    """One address."""

    def __init__(self, transport: HttpxTransport, url: httpx.URL, timeouts: Timeouts) -> None:
        self._transport = transport
        self._url = url
        self._timeouts = timeouts

    async def post(self, body: bytes, headers: Mapping[str, str]) -> HttpxResponse:
        """Send a request and wait for the head of its answer; raises TransportError."""
        return await self._send("POST", headers, body)

    async def get(self, headers: Mapping[str, str]) -> HttpxResponse:
        """The same without a body."""
        return await self._send("GET", headers, None)

    async def _send(
        self, method: str, headers: Mapping[str, str], body: bytes | None
    ) -> HttpxResponse:
        limits = self._timeouts
        waits: dict[str, float | None] = {
            "connect": limits.connect,
            "read": limits.first_token,
            "write": limits.first_token,
            "pool": limits.connect,
        }
        request = httpx.Request(
            method, self._url, headers=headers, content=body, extensions={"timeout": waits}
        )
        asking = partial(self._transport.inner.handle_async_request, request)
        try:
            response = await apart(asking, undo=httpx.Response.aclose)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise translated(error, _KINDS) from error
        response.request = request
        waits["read"] = None  # of the body: from here on the reads below have the say
        return HttpxResponse(response, limits)


class HttpxResponse:
    """An answer under way; `_wait` is what the next read may take, in seconds."""

    def __init__(self, response: httpx.Response, timeouts: Timeouts) -> None:
        self._response = response
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        is_plain = encoding == "identity"
        pieces = response.aiter_bytes() if is_plain else unpacked(response.aiter_raw(), encoding)
        self._pieces = cast("AsyncGenerator[bytes, None]", pieces)
        self._wait = timeouts.first_token
        self._idle = timeouts.idle

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status_code

    def header(self, name: str) -> str | None:
        """One header of the answer."""
        value: str | None = self._response.headers.get(name)
        return value

    async def read(self) -> bytes:
        """What has come since the last read; empty at the end of the body."""
        try:
            with anyio.fail_after(self._wait):
                data = await apart(self._next)
        except (httpx.HTTPError, httpx.StreamError, OSError, zlib.error) as error:
            raise translated(error, _KINDS) from error
        self._wait = self._idle
        return data

    async def finish(self) -> None:
        """Read to the end of the body if it is near: only then httpx keeps the connection."""
        left = _LINGER_BYTES
        try:
            with anyio.move_on_after(LINGER):
                while left > 0 and (data := await self.read()):
                    left -= len(data)
        except TransportError:
            pass  # the answer is complete; only the connection is lost
        finally:
            await self.abort()

    async def abort(self) -> None:
        """Close the answer, and the connection unless the body was read to its end."""
        await apart(self._close, shield=True)

    async def _next(self) -> bytes:
        return await anext(self._pieces, b"")

    async def _close(self) -> None:
        await self._pieces.aclose()
        await self._response.aclose()


async def unpacked(pieces: AsyncIterator[bytes], encoding: str) -> AsyncGenerator[bytes, None]:
    """A body as it was before it was packed, at most `READ_BUFFER` bytes at a time.

    No encoding is asked for, but some servers pack all the same, and httpx would unpack a whole
    read at once: 64 KiB may hold 64 MiB. Raises zlib.error, or Unreadable for other encodings.
    """
    if encoding not in _PACKED:
        raise Unreadable("its content-encoding was not asked for")
    unpacker = zlib.decompressobj(_ANY_HEADER)
    async for piece in pieces:
        data = unpacker.decompress(piece, READ_BUFFER)
        while data:
            yield data
            await anyio.lowlevel.checkpoint()  # others get their turn
            data = unpacker.decompress(unpacker.unconsumed_tail, READ_BUFFER)


_PACKED = frozenset({"gzip", "x-gzip", "deflate"})
_ANY_HEADER = 32 + zlib.MAX_WBITS
"""gzip's or zlib's, whichever comes."""

_KINDS: Mapping[type[Exception], type[TransportError]] = MappingProxyType(
    {
        httpx.ConnectTimeout: ConnectTimeout,
        httpx.PoolTimeout: ConnectTimeout,
        httpx.TimeoutException: ReadTimeout,
        TimeoutError: ReadTimeout,
        httpx.ConnectError: NotConnected,
        httpx.ProxyError: NotConnected,
        httpx.UnsupportedProtocol: NotConnected,
        httpx.InvalidURL: NotConnected,
        zlib.error: Unreadable,
    }
)
