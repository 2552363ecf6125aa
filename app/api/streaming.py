"""How a run's answer reaches the client: as an event stream, or whole.

There is no queue between engine and socket: what the engine emits is sent before it goes on, so a
slow client slows the upstream. Whoever waits on a client also watches for its leaving, from the
first moment, and then cancels the run at once.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from typing import Protocol

import anyio
import orjson
from starlette.types import Receive, Scope, Send

from app.api import exchange
from app.api.errors import log_failure, to_moa_error
from app.errors import Overloaded
from app.interfaces import Emit
from app.protocol.answer import Answer
from app.protocol.chat import Batch, says_something
from app.protocol.dialect import HeartbeatStyle, StreamDialect, WholeDialect
from app.protocol.json_types import JsonObject

_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx and its kin would hold events back
]
_WHOLE_HEADERS = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds until a stream's headers are sent at the latest, and between signs of life.

    `last_write` is what a client gets to take the end of a stream, when its run is over;
    `farewell` the same when the server is about to stop.
    """

    commit_after: float = 8.0
    heartbeat: float = 10.0
    style: HeartbeatStyle = "comment"
    last_write: float = 30.0
    farewell: float = 1.0


class Run(Protocol):
    """What is answered: a `ChatRun`, or something around one."""

    async def execute(self, emit: Emit) -> None:
        """Answer into `emit`, once. Raises a MoaError where there is no whole answer."""

    def usage(self) -> JsonObject:
        """OpenAI's `usage`, after the run."""

    def extension(self) -> JsonObject | None:
        """The `moa` object, after the run."""

    def headers(self) -> dict[str, str]:
        """What is known of the run so far."""


async def send_whole(
    run: Run, dialect: WholeDialect, scope: Scope, receive: Receive, send: Send
) -> None:
    """Run, then answer with one JSON object. Raises what the run raises."""
    answer = Answer()

    async def collect(batch: Batch) -> None:
        answer.add(batch)

    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_when_gone, scope, receive, tasks.cancel_scope)
        try:
            await run.execute(collect)
        except Exception as raised:  # noqa: BLE001 - raised again below, outside the group
            failure = raised
        tasks.cancel_scope.cancel()
    if exchange.current(scope).client_left:
        return
    if failure is not None:
        raise failure
    body = orjson.dumps(dialect(answer, run.usage(), run.extension()))
    length = (b"content-length", str(len(body)).encode())
    headers = [*_WHOLE_HEADERS, length, *_encoded(run.headers())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _cancel_when_gone(scope: Scope, receive: Receive, running: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    exchange.current(scope).client_left = True
    running.cancel()


class EventStream:
    """One streamed answer.

    Late commit: the response begins with the first output token, or after `commit_after`; a
    failure before that is raised and becomes a real HTTP status. After it, a failure is one error
    event and the end.
    """

    def __init__(self, run: Run, timing: Timing, dialect: StreamDialect) -> None:
        self._run = run
        self._timing = timing
        self._dialect = dialect
        self._committed = self._ended = False
        self._writing = False
        self._beating: anyio.Event | None = None
        self._early = b""
        self._silence = math.inf if timing.style == "off" else timing.heartbeat
        self._commit_at = self._last_sent = 0.0
        self._send: Send

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run and stream. Raises what the run raises, as long as nothing has been sent."""
        self._send = send
        self._commit_at = time.monotonic() + self._timing.commit_after
        try:
            failure = await self._execute(scope, receive)
        except asyncio.CancelledError:
            # Only the server cancels a request: the time to drain is over.
            if not exchange.current(scope).client_left:
                await self._take_leave(scope)
            raise
        if failure is not None and not exchange.current(scope).client_left:
            await self._fail(scope, failure)

    async def _execute(self, scope: Scope, receive: Receive) -> Exception | None:
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, scope, receive, tasks.cancel_scope)
            try:
                await self._run.execute(self._emit)
                await self._finish()
            except Exception as raised:  # noqa: BLE001 - returned, to be answered outside the group
                failure = raised
            tasks.cancel_scope.cancel()
        return failure

    async def _emit(self, batch: Batch) -> None:
        events = self._dialect.encode(batch)
        if not self._committed:
            events = self._take_early() + events
            if not says_something(batch):
                self._early, events = events, b""
        if events:
            await self._write(events)

    async def _finish(self) -> None:
        end = self._dialect.finish(self._run.usage(), self._run.extension())
        await self._end(self._take_early() + end)

    async def _fail(self, scope: Scope, failure: Exception) -> None:
        if not self._committed:
            raise failure
        here = exchange.current(scope)
        here.error = to_moa_error(failure)
        log_failure(here.request_id, here.error, failure)
        await self._end(self._dialect.failure(here.error))

    async def _take_leave(self, scope: Scope) -> None:
        """End a stream that the server cuts off; before the commit that is the catcher's."""
        if not self._committed or self._ended:
            return
        here = exchange.current(scope)
        here.error = Overloaded("The server is shutting down; ask again", retry_after=1)
        log_failure(here.request_id, here.error, here.error)
        with anyio.move_on_after(self._timing.farewell, shield=True):
            await self._write(self._dialect.failure(here.error), more=False)

    async def _end(self, events: bytes) -> None:
        """Send the last words. No deadline of the run is left to end this if nobody takes them."""
        with anyio.move_on_after(self._timing.last_write):
            await self._write(events, more=False)

    async def _write(self, events: bytes, *, more: bool = True) -> None:
        """Send what the run has to say; returns when the socket takes more."""
        while self._beating is not None:
            await self._beating.wait()
        self._writing = True
        try:
            await self._put(events, more=more)
        finally:
            self._writing = False

    async def _beat(self, events: bytes) -> None:
        """Send what the watch has to say; never while the run sends. A lock would cost more."""
        self._beating = anyio.Event()
        try:
            await self._put(events, more=True)
        finally:
            self._beating.set()
            self._beating = None

    async def _put(self, events: bytes, *, more: bool) -> None:
        if not self._committed:
            headers = [*_STREAM_HEADERS, *_encoded(self._run.headers())]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            self._committed = True
        await self._send({"type": "http.response.body", "body": events, "more_body": more})
        self._ended = not more
        self._last_sent = time.monotonic()

    async def _watch(self, scope: Scope, receive: Receive, running: anyio.CancelScope) -> None:
        """Wait for the client's leaving; meanwhile commit in time and give signs of life."""
        wait = min(self._timing.commit_after, self._silence)
        while True:
            with anyio.move_on_after(wait) as silence:
                message = await receive()
                if message["type"] == "http.disconnect":
                    # Servers say so of every answer that is over, too.
                    exchange.current(scope).client_left = not self._ended
                    running.cancel()
                    return
            if silence.cancelled_caught:
                wait = await self._sign_of_life()

    async def _sign_of_life(self) -> float:
        """Commit or send a heartbeat if one is due; seconds until the next look."""
        now = time.monotonic()
        if self._writing:  # the client is slow to take what it has already got
            return self._silence
        if not self._committed:
            if now < self._commit_at:
                return self._commit_at - now
            await self._beat(self._take_early())
        elif now >= self._last_sent + self._silence:
            await self._beat(self._dialect.heartbeat(self._timing.style))
        return self._last_sent + self._silence - now

    def _take_early(self) -> bytes:
        early, self._early = self._early, b""
        return early


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
