"""One exchange of the fake upstream: plays rendered bytes, notices at once when the client leaves.

It knows ASGI and nothing of scripts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, TypeAlias

import anyio

from app.upstream.fake_log import Asked, Ending, Log
from app.upstream.fake_wire import Rendered, Write

# ASGI's own types: values are of any kind, as the specification has it.
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class _ClientLeft(Exception):
    """The other side closed before the end."""


class _Cut(Exception):
    """The script closes the connection."""


class Exchange:
    """Answers one request whose body has been read. `gate` gives the event `then=gate` waits for.

    Pauses and hangs wait on `receive`, so a leaving client is noticed and booked within a moment.
    """

    def __init__(
        self, asked: Asked, log: Log, receive: Receive, send: Send, gate: Callable[[], anyio.Event]
    ) -> None:
        self._asked = asked
        self._log = log
        self._receive = receive
        self._send = send
        self._gate = gate

    async def play(self, rendered: Rendered) -> None:
        """Send the response as scripted and book how it ended."""
        ending = Ending.ABORTED
        try:
            await self._play(rendered)
            ending = Ending.ANSWERED
        except _ClientLeft:
            pass
        except _Cut:
            ending = Ending.CUT
        finally:
            self._log.close(self._asked, ending)

    async def _play(self, rendered: Rendered) -> None:
        await self._pause(rendered.pause)
        if rendered.silent:
            await self._break(rendered)
        start = {"status": rendered.status, "headers": rendered.headers}
        await self._send({"type": "http.response.start", **start})
        await self._write(rendered.opening, more=True)
        if not rendered.silent:
            await self._break(rendered)
        await self._write(rendered.rest, more=False)

    async def _write(self, writes: Sequence[Write], *, more: bool) -> None:
        last = len(writes) - 1
        for index, write in enumerate(writes):
            await self._pause(write.pause)
            more_body = more or index < last
            message = {"type": "http.response.body", "body": write.data, "more_body": more_body}
            await self._send(message)
            self._log.wrote(self._asked, write.events)
        if not writes and not more:
            await self._send({"type": "http.response.body"})

    async def _break(self, rendered: Rendered) -> None:
        match rendered.break_:
            case "gate":
                await self._wait_at(self._gate())
            case "hang":
                await self._pause(None)
            case "cut":
                self._close(silent=rendered.silent)
                raise _Cut

    async def _pause(self, seconds: float | None) -> None:
        # asyncio's own timeout: it costs a third of a cancel scope, and a bench waits here.
        if seconds == 0:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._receive()
        except TimeoutError:
            return
        raise _ClientLeft

    async def _wait_at(self, gate: anyio.Event) -> None:
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                await self._receive()
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            await gate.wait()
            tasks.cancel_scope.cancel()
        if not gate.is_set():
            raise _ClientLeft

    def _close(self, *, silent: bool) -> None:
        # An unfinished body makes the server close the connection by itself; for a response that
        # never began it would send a 500, and ASGI has no word for hanging up, so the server's
        # own transport is asked.
        if silent:
            self._receive.__self__.transport.abort()  # type: ignore[attr-defined]  # see above
