"""The default transport: one aiohttp session. Nothing here knows chat.

Until the head of an answer, aiohttp's `sock_read` watches the clock. It would cost a timer for
every read of a stream, and it forgets a body whose chunks are malformed (the reader then waits
for ever), so bodies are watched by one slow timer of ours.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from time import monotonic
from types import MappingProxyType

import aiohttp
from aiohttp.payload import BytesPayload
from yarl import URL

from app.upstream.egress import Egress
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

_MAX_HEADER_BYTES = 32 * 1024
_GLANCE = 1.0
"""Seconds between two looks at a body that is being read."""
_STRETCH = 1024 * 1024
"""Bytes read before others get their turn: what has come already is read without waiting."""


class AiohttpTransport:
    """One session, opened by its first call. `proxy` is a URL and may hold credentials.

    All mutable state: the session, and `lingering`, the complete answers whose bodies have not
    ended yet.
    """

    def __init__(
        self,
        context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        egress: Egress | None = None,
    ) -> None:
        self._tls = context
        self._egress = egress or Egress()
        self._proxy = URL(proxy) if proxy else None
        self._opened: aiohttp.ClientSession | None = None
        self.lingering: set[aiohttp.ClientResponse] = set()

    def endpoint(self, url: str, query: Mapping[str, str], timeouts: Timeouts) -> AiohttpEndpoint:
        """Prepare an address; opens nothing."""
        return AiohttpEndpoint(self, URL(url).update_query(query) if query else URL(url), timeouts)

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session; opened here because it belongs to the running event loop."""
        if self._opened is None:
            connector = aiohttp.TCPConnector(
                limit=0,
                keepalive_timeout=KEEP_ALIVE,
                ssl=self._tls or True,
                socket_factory=self._egress.socket,
            )
            self._opened = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                proxy=self._proxy,
                read_bufsize=READ_BUFFER,
                max_field_size=_MAX_HEADER_BYTES,
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._opened

    async def aclose(self) -> None:
        """Close every connection."""
        for response in self.lingering:
            response.close()
        self.lingering.clear()
        if self._opened is not None:
            await self._opened.close()


class AiohttpEndpoint:
    """One address. POST is never sent twice, whatever aiohttp does for other methods."""

    def __init__(self, transport: AiohttpTransport, url: URL, timeouts: Timeouts) -> None:
        self._transport = transport
        self._url = url
        self._timeouts = timeouts
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=timeouts.connect, sock_read=timeouts.first_token
        )

    async def post(self, body: bytes, headers: Mapping[str, str]) -> AiohttpResponse:
        """Send a request and wait for the head of its answer; raises TransportError."""
        return await self._send("POST", headers, _Body(body))

    async def get(self, headers: Mapping[str, str]) -> AiohttpResponse:
        """The same without a body."""
        return await self._send("GET", headers, None)

    async def _send(
        self, method: str, headers: Mapping[str, str], body: BytesPayload | None
    ) -> AiohttpResponse:
        try:
            response = await self._transport.session.request(
                method,
                self._url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=self._timeout,
            )
        except aiohttp.ClientResponseError as error:
            # Its own text holds the whole address, whose query may hold a key.
            raise translated(error, _KINDS, text=error.message) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise translated(error, _KINDS) from error
        return AiohttpResponse(response, self._timeouts, self._transport.lingering)


class AiohttpResponse:
    """An answer under way.

    All mutable state: `_limit`, what a read may take; `_waits_since`, None while nobody reads;
    `_timer`, which looks after the reader; `_stretch`, bytes read since others had their turn.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        timeouts: Timeouts,
        lingering: set[aiohttp.ClientResponse],
    ) -> None:
        self._response = response
        self._content = response.content
        self._lingering = lingering
        self._limit = timeouts.first_token
        self._idle = timeouts.idle
        self._glance = min(_GLANCE, timeouts.first_token, timeouts.idle)
        self._waits_since: float | None = None
        self._stretch = 0
        self._timer: asyncio.TimerHandle | None = None
        connection = response.connection
        if connection is not None and connection.protocol is not None:
            connection.protocol.read_timeout = None
            connection.protocol.start_timeout()  # which now stops it

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status

    def header(self, name: str) -> str | None:
        """One header of the answer."""
        return self._response.headers.get(name)

    async def read(self) -> bytes:
        """What has come since the last read; empty at the end of the body."""
        if self._timer is None and not self._content.is_eof():
            self._watch_again(self._glance)
        self._waits_since = monotonic()
        try:
            data = await self._content.readany()
        except (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError) as error:
            raise translated(error, _KINDS) from error
        finally:
            self._waits_since = None
        self._limit = self._idle
        self._stretch += len(data)
        if self._stretch > _STRETCH:
            self._stretch = 0
            await asyncio.sleep(0)
        return data

    async def finish(self) -> None:
        """Keep the connection: aiohttp takes it back by itself once the end of the body comes."""
        self._stop_watching()
        if self._content.is_eof():
            return
        if self._content.exception() is not None:
            self._response.close()
            return
        self._lingering.add(self._response)
        self._timer = asyncio.get_running_loop().call_later(LINGER, self._give_up)
        self._content.on_eof(self._end_lingering)

    async def abort(self) -> None:
        """Close the connection, without sending what is left of the request."""
        self._stop_watching()
        connection = self._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()
        self._response.close()

    def _watch(self) -> None:
        """Wake a reader that waits for too long, or for a connection that is gone."""
        waited = 0.0 if self._waits_since is None else monotonic() - self._waits_since
        connection = self._response.connection
        if self._content.is_eof() or self._content.exception() is not None:
            return
        if waited >= self._limit:
            self._content.set_exception(aiohttp.SocketTimeoutError("silent for too long"))
        elif connection is not None and connection.closed:
            self._content.set_exception(aiohttp.ClientPayloadError("the body is malformed"))
        else:
            self._watch_again(min(self._glance, self._limit - waited))

    def _watch_again(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._watch)

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _give_up(self) -> None:
        self._lingering.discard(self._response)
        self._response.close()

    def _end_lingering(self) -> None:
        self._stop_watching()
        self._lingering.discard(self._response)


class _Body(BytesPayload):
    """JSON, ready to be sent. aiohttp's own class warns of bodies above 1 MiB: images are."""

    def __init__(self, value: bytes) -> None:
        super(BytesPayload, self).__init__(value, content_type="application/json")
        self._size = len(value)


_KINDS: Mapping[type[Exception], type[TransportError]] = MappingProxyType(
    {
        aiohttp.ConnectionTimeoutError: ConnectTimeout,
        TimeoutError: ReadTimeout,
        aiohttp.ClientConnectorError: NotConnected,
        aiohttp.ClientHttpProxyError: NotConnected,
        aiohttp.InvalidURL: NotConnected,
        aiohttp.ClientResponseError: Unreadable,
        aiohttp.http.HttpProcessingError: Unreadable,
    }
)
