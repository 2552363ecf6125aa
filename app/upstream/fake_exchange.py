"""One exchange of the fake upstream: plays rendered bytes, notices at once when the client leaves.

It knows ASGI and nothing of scripts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, TypeAlias

import anyio

from app.upstream.fake_faults import HALF_HEAD, make_noise, reset
from app.upstream.fake_log import Asked, Ending, Log
from app.upstream.fake_wire import Rendered, Write

# ASGI's own types: values are of any kind, as the specification has it.
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


PILED_UP = 64 * 1024
"""Bytes from which a write counts as taken only when the server has room for another one."""


_NOTHING = Write(0, b"", 0)


class _ClientLeft(Exception):
    """The other side closed before the end."""


class _Cut(Exception):
    """The script closes the connection."""


class Exchange:
    """Answers one request whose body has been read. `gate` gives the event `then=gate` waits for.

    Pauses and hangs wait on `receive`, so a leaving client is noticed and booked within a moment.
    Between writes without a pause the server's own flags are read: a task that waits on `receive`
    beside them would cost a bench as much as the writes do.
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
            if rendered.half_head:
                self._transport.write(HALF_HEAD)
            await self._break(rendered)
        start = {"status": rendered.status, "headers": rendered.headers}
        await self._send({"type": "http.response.start", **start})
        await self._write(rendered.opening, more=True)
        if not rendered.silent:
            await self._break(rendered)
        await self._write(rendered.rest, more=False)

    async def _write(self, writes: Sequence[Write], *, more: bool) -> None:
        for write in writes if more else writes[:-1]:
            await self._pause(write.pause)
            await self._put(write)
        if not more:
            await self._end(writes)

    async def _put(self, write: Write) -> None:
        await self._send(_body(write.data, more=True))
        self._see_client()
        self._log.wrote(self._asked, write.events)

    async def _end(self, writes: Sequence[Write]) -> None:
        last = writes[-1] if writes else _NOTHING
        await self._pause(last.pause)
        if len(writes) > 1 and not last.pause:
            await asyncio.sleep(0)  # the server looks at its sockets once
        if len(last.data) > PILED_UP:
            await self._put(last)
            last = _NOTHING
        self._see_client()
        await self._send(_body(last.data))
        self._see_client(ended=True)
        self._log.wrote(self._asked, last.events)

    def _see_client(self, *, ended: bool = False) -> None:
        """Raise _ClientLeft if it left; after the end it may be the server that closed."""
        cycle = getattr(self._receive, "__self__", None)  # None where there is no socket
        if cycle is None:
            return
        if cycle.disconnected or (not ended and cycle.transport.is_closing()):
            raise _ClientLeft

    async def _break(self, rendered: Rendered) -> None:
        match rendered.break_:
            case "gate":
                await self._wait_at(self._gate())
            case "hang":
                await self._pause(None)
            case "cut" if not rendered.silent:
                raise _Cut  # an unfinished body makes the server close the connection by itself
            case "cut":
                await self._hang_up(lambda transport: transport.abort())
            case "reset":
                await self._hang_up(reset)
            case "noise":
                await self._hang_up(make_noise)

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

    async def _hang_up(self, how: Callable[[asyncio.Transport], None]) -> None:
        """End the connection in a way ASGI has no word for; the server must not answer after it."""
        how(self._transport)
        await self._receive()
        raise _Cut

    @property
    def _transport(self) -> asyncio.Transport:
        transport: asyncio.Transport = self._receive.__self__.transport  # type: ignore[attr-defined]  # uvicorn's cycle
        return transport


def _body(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}
