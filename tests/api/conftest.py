"""The application without a socket: an ordinary client, and a wire that tests can hold in hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio
import httpx
import orjson
import pytest
from fastapi import FastAPI

from app.config import Settings
from app.interfaces import ChatModel
from app.main import create_app
from app.serving.runtime import runtime_of

Client: TypeAlias = httpx.AsyncClient
PATIENCE = 10.0


@dataclass(eq=False)
class Wire:
    """One request to an ASGI application, whose socket is the test.

    `body` None is a client that never sends its body; `leave` closes the connection; while
    `blocked` is set the client takes nothing.
    """

    body: bytes | None
    headers: Mapping[str, str] = field(default_factory=dict)
    path: str = "/v1/chat/completions"
    sent: list[dict[str, Any]] = field(default_factory=list)
    body_was_read: bool = False
    blocked: bool = False
    _left: anyio.Event = field(default_factory=anyio.Event)
    _changed: anyio.Event = field(default_factory=anyio.Event)

    async def run(self, app: FastAPI) -> None:
        headers = {"host": "localhost", "content-type": "application/json", **self.headers}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 5),
            "server": ("127.0.0.1", 80),
        }
        await app(scope, self._receive, self._send)

    def leave(self) -> None:
        self._left.set()
        self._tell()

    def unblock(self) -> None:
        self.blocked = False
        self._tell()

    async def until(self, reached: Callable[[Wire], bool]) -> None:
        with anyio.fail_after(PATIENCE):
            while not reached(self):
                await self._changed.wait()

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    @property
    def response_headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()

    @property
    def events(self) -> list[Any]:
        payloads = [
            part.removeprefix("data: ")
            for part in self.text.split("\n\n")
            if part.startswith("data: ")
        ]
        return [each if each == "[DONE]" else orjson.loads(each) for each in payloads]

    @property
    def ended(self) -> bool:
        return bool(self.sent) and self.sent[-1].get("more_body") is False

    async def _receive(self) -> dict[str, Any]:
        if not self.body_was_read and self.body is not None:
            self.body_was_read = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        while self.blocked and not self._left.is_set():
            await self._changed.wait()
        self.sent.append({"more_body": False, **message} if "body" in message else message)
        self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


@pytest.fixture
def wire() -> type[Wire]:
    return Wire


@pytest.fixture
def serve() -> Callable[..., AbstractAsyncContextManager[FastAPI]]:
    """`serve({name: model}, **settings)`: a started application."""

    @asynccontextmanager
    async def started(models: Mapping[str, ChatModel], **settings: Any) -> AsyncIterator[FastAPI]:
        app = create_app(Settings.read({}, **settings), runtime=runtime_of(models, {"alias": "m"}))
        async with app.router.lifespan_context(app):
            yield app

    return started


@pytest.fixture
def client_of() -> Callable[..., AbstractAsyncContextManager[Client]]:
    """`client_of(app)`: a client on this machine."""

    @asynccontextmanager
    async def client(app: FastAPI, host: str = "127.0.0.1") -> AsyncIterator[Client]:
        transport = httpx.ASGITransport(app, client=(host, 5), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as opened:
            yield opened

    return client
