"""One serving process: uvicorn's server, with an end of its own. Knows nothing of workers."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import anyio
import uvicorn

from app.api.routes.health import DRAINING

BREAK_OFF = 3.0
"""Seconds that everything still running gets to end when it is cut off."""
_LOOK_EVERY = 0.05

_log = logging.getLogger("moa.stop")


class Server(uvicorn.Server):
    """Says when it is ready; drains before it ends."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell."""
        await super().startup(sockets=sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nothing more, let requests end while there is time, cut off the rest and say so.

        uvicorn's own leaves what it cuts off to the end of the event loop, after the application's,
        and waits for connections that came in its last moment.
        """
        self.lifespan.state[DRAINING] = True
        if running := len(self.server_state.tasks):
            _log.info("draining: %d under way, %d s at most", running, self._patience)
        for each in (*self.servers, *(sockets or ())):
            each.close()
        await self._drain()
        count = await self._cut_off()
        with anyio.move_on_after(BREAK_OFF):
            await self.lifespan.shutdown()
        if count:
            _log.warning("stopped with %d request%s unfinished", count, "s" if count > 1 else "")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain and stop, at the second Ctrl-C at once.

        uvicorn's own raises the signal again after the drain; here a drained end is exit code 0.
        """
        del frame
        self.force_exit = self.force_exit or (self.should_exit and sig == signal.SIGINT)
        self.should_exit = True

    @property
    def _patience(self) -> int:
        """Seconds that what runs gets to end."""
        return self.config.timeout_graceful_shutdown or 0

    async def _drain(self) -> None:
        """Close idle connections at once, others after their answer, until none is left."""
        state = self.server_state
        ends = time.monotonic() + self._patience
        while (state.connections or state.tasks) and not self.force_exit:
            for connection in list(state.connections):
                connection.shutdown()
            left = ends - time.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(min(_LOOK_EVERY, left))

    async def _cut_off(self) -> int:
        """Cancel what is under way and wait for its last words; how many requests it was."""
        unfinished = list(self.server_state.tasks)
        for task in unfinished:
            task.cancel()
        if unfinished:
            await asyncio.wait(unfinished, timeout=BREAK_OFF)
        return len(unfinished)
