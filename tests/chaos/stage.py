"""The gateway on a socket and the fake upstream on another, each in a thread of this process."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from app.api.services import Services
from app.config import Settings
from app.main import create_app
from app.protocol.request import ChatCall
from app.record import RunRecord
from app.serving.chat import ChatRun, ChatService
from app.upstream.fake_server import FakeUpstream, build_server, listen
from tests.chaos.faults import QUESTION
from tests.chaos.holdings import Holdings, megabytes, named_files, open_files, trim
from tests.chaos.setting import config

PATIENCE = 20.0


class WatchedChat(ChatService):
    """The gateway's own chat service; keeps every run under the name in its question."""

    def __init__(self, inner: ChatService, runs: dict[str, list[RunRecord]]) -> None:
        self._inner, self._runs = inner, runs

    def open(self, call: ChatCall, **about: Any) -> ChatRun:
        """Open a run, and keep its record."""
        run = self._inner.open(call, **about)
        asked = QUESTION.search(str(call.request.conversation.messages[-1]["content"]))
        self._runs.setdefault(asked[1] if asked else "r0", []).append(run.record)
        return run


@dataclass
class Stage:
    """Everything under test, running."""

    url: str
    fake: FakeUpstream
    fake_server: uvicorn.Server
    server: uvicorn.Server
    loop: asyncio.AbstractEventLoop
    fake_loop: asyncio.AbstractEventLoop
    runs: dict[str, list[RunRecord]] = field(default_factory=dict)

    def holdings(self) -> Holdings:
        """Counted now, after garbage is collected."""
        gc.collect()
        trim()
        return Holdings(
            _on(self.loop, lambda: len(asyncio.all_tasks(self.loop))),
            len(self.server.server_state.connections),
            threading.active_count(),
            open_files(),
            megabytes(),
        )

    async def settled(self, patience: float = PATIENCE) -> Holdings:
        """The holdings when they have not fallen for a second; at the latest after `patience`."""
        give_up = time.monotonic() + patience
        least, since = self.holdings(), time.monotonic()
        while time.monotonic() < min(since + 1.0, give_up):
            await asyncio.sleep(0.1)
            now = self.holdings()
            if least.exceeds(now):
                least, since = now, time.monotonic()
        return least

    def hang_up(self) -> None:
        """Let the fake close every connection that is kept for later."""

        def shut_down() -> None:
            for connection in list(self.fake_server.server_state.connections):
                connection.shutdown()

        _on(self.fake_loop, shut_down)

    def held(self) -> str:
        """The tasks of the gateway's loop and the open files, for people."""
        tasks = _on(self.loop, lambda: [repr(task) for task in asyncio.all_tasks(self.loop)])
        return "\n".join([*tasks, *named_files()])


def _on(loop, function):  # type: ignore[no-untyped-def] # of any result
    async def call():  # type: ignore[no-untyped-def] # as above
        return function()

    return asyncio.run_coroutine_threadsafe(call(), loop).result(PATIENCE)


class _Noting:
    """Notes the loop an application runs on, when its lifespan begins."""

    def __init__(self, app) -> None:  # type: ignore[no-untyped-def] # any ASGI application
        self.app = app
        self.loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.loop = self.loop or asyncio.get_running_loop()
        if scope["type"] == "lifespan" and isinstance(self.app, FakeUpstream):
            return
        await self.app(scope, receive, send)


@contextmanager
def staged(fake: FakeUpstream, folder: Path) -> Iterator[Stage]:
    """The gateway and the fake, each in a thread of its own."""
    with listen() as live, socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))  # nobody listens there, and nobody else can
        fake.base_url = _address(live)
        file = folder / "chaos.yaml"
        file.write_text(config(fake.base_url, _address(dead)))
        app = create_app(Settings.read({}, config=file, commit_after=1.0), environ={})
        fake_app, noted = _Noting(fake), _Noting(app)
        fake_server = build_server(fake_app)  # type: ignore[arg-type] # it is one, noted
        fake_server.config.lifespan = "auto"
        with _serving(fake_server, live), listen() as listener:
            options = uvicorn.Config(
                noted, loop="uvloop", http="httptools", log_config=None, access_log=False
            )
            server = uvicorn.Server(options)
            server.force_exit = True
            with _serving(server, listener):
                assert noted.loop
                assert fake_app.loop
                url = _address(listener)
                stage = Stage(url, fake, fake_server, server, noted.loop, fake_app.loop)
                _watch(app, stage)
                yield stage


def _watch(app: FastAPI, stage: Stage) -> None:
    services: Services = app.state.services
    app.state.services = replace(services, chat=WatchedChat(services.chat, stage.runs))


def _address(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


@contextmanager
def _serving(server: uvicorn.Server, listener: socket.socket) -> Iterator[None]:
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    give_up = time.monotonic() + PATIENCE
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < give_up, "the server did not start in time"
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
