"""A raw HTTP server whose every byte a test decides, and a deployment that talks to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import anyio
import orjson
import pytest

from app.protocol.chat import Batch, ChatRequest, Conversation
from app.record import CallRecord, RunRecord, Step
from app.upstream.deployment import Deployment, Transports, build_deployment, open_transports
from app.upstream.spec import ModelSpec, UpstreamSpec


@dataclass
class Received:
    """A request as it came; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    gone: anyio.Event = field(default_factory=anyio.Event)

    async def send(self, *pieces: bytes, pause: float = 0.005) -> None:
        """Each piece arrives as a read of its own, as far as a loopback socket allows."""
        for piece in pieces:
            if self.writer.transport.is_closing():
                raise ConnectionError
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(pause)

    async def wait_until_gone(self) -> None:
        """Until the client has closed its side; records that it did."""
        with suppress(ConnectionError):
            await self.reader.read()
        self.gone.set()

    def reset(self) -> None:
        self.writer.transport.abort()


Script = Callable[[Received, Connection], Awaitable[None]]


class RawUpstream:
    """Runs `script` for every request; keeps what was asked and every connection."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.connections: list[Connection] = []
        self.script: Script = self.answers(self.json(self.completion("hello")))
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        self.connections.append(connection)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                request = await self._receive(reader)
                self.requests.append(request)
                await self.script(request, connection)
        writer.close()

    async def _receive(self, reader: asyncio.StreamReader) -> Received:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        names = [line.split(": ", 1) for line in head[1:-2]]
        headers = {name.lower(): value for name, value in names}
        if headers.get("transfer-encoding") == "chunked":
            raise AssertionError("requests have a length")
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Received(method, path, headers, body)

    @staticmethod
    def answers(*replies: bytes) -> Script:
        """One whole reply per request, the last one from then on."""
        queue = list(replies)

        async def script(_: Received, connection: Connection) -> None:
            await connection.send(queue.pop(0) if len(queue) > 1 else queue[0])

        return script

    @staticmethod
    def pieces(*pieces: bytes, then: str = "keep") -> Script:
        """Every reply in these pieces; then the connection is kept, closed, reset or hangs."""

        async def script(_: Received, connection: Connection) -> None:
            await connection.send(*pieces)
            if then == "close":
                raise ConnectionError
            if then == "reset":
                connection.reset()
                raise ConnectionError
            if then == "hang":
                await connection.wait_until_gone()

        return script

    @staticmethod
    def head(status: int = 200, **headers: str) -> bytes:
        lines = [f"HTTP/1.1 {status} Whatever"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()

    @classmethod
    def whole(cls, body: bytes, status: int = 200, **headers: str) -> bytes:
        return cls.head(status, content_length=str(len(body)), **headers) + body

    @classmethod
    def json(cls, value: object, status: int = 200, **headers: str) -> bytes:
        return cls.whole(orjson.dumps(value), status, content_type="application/json", **headers)

    @staticmethod
    def chunk(data: bytes) -> bytes:
        """One chunk of a chunked body; an empty one ends it."""
        return b"%x\r\n%b\r\n" % (len(data), data)

    @classmethod
    def stream(cls, *events: object, status: int = 200) -> list[bytes]:
        """The pieces of an event stream; bytes are sent as they are, objects as `data`."""
        pieces = [cls.head(status, content_type="text/event-stream", transfer_encoding="chunked")]
        return [*pieces, *(cls.chunk(cls.event(event)) for event in events), cls.chunk(b"")]

    @staticmethod
    def event(event: object) -> bytes:
        return event if isinstance(event, bytes) else b"data: %b\n\n" % orjson.dumps(event)

    @staticmethod
    def delta(content: str | None = None, finish: str | None = None, **delta: object) -> Any:
        delta = {"content": content, **delta} if content is not None else delta
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {"object": "chat.completion.chunk", "choices": [choice]}

    @staticmethod
    def usage(prompt: int = 7, completion: int = 2) -> Any:
        usage = {"prompt_tokens": prompt, "completion_tokens": completion}
        return {"object": "chat.completion.chunk", "choices": [], "usage": usage}

    @staticmethod
    def completion(content: str) -> Any:
        message = {"role": "assistant", "content": content}
        return {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2},
        }

    DONE = b"data: [DONE]\n\n"


@dataclass
class Asking:
    """One question: what came, and what was booked."""

    deployment: Deployment
    messages: tuple[Any, ...] = ({"role": "user", "content": "hi there"},)
    stream: bool = True
    params: dict[str, object] = field(default_factory=dict)
    hops: int = 0
    batches: list[Batch] = field(default_factory=list)
    on_batch: Callable[[Batch], Awaitable[None]] | None = None

    def __post_init__(self) -> None:
        self.run = RunRecord("run", "m", perf_counter, hops=self.hops)

    async def go(self) -> "Asking":
        request = ChatRequest(Conversation(self.messages), self.params, self.stream)
        with anyio.fail_after(10):
            await self.deployment.answer(request, Step(self.run), self._take)
        return self

    async def _take(self, batch: Batch) -> None:
        assert batch
        self.batches.append(batch)
        if self.on_batch is not None:
            await self.on_batch(batch)

    @property
    def chunks(self) -> list[Any]:
        return [chunk for batch in self.batches for chunk in batch]

    @property
    def text(self) -> str:
        choices = [choice for chunk in self.chunks for choice in chunk.choices]
        return "".join(choice["delta"].get("content") or "" for choice in choices)

    @property
    def call(self) -> CallRecord:
        [call] = self.run.calls
        return call


@pytest.fixture
async def raw() -> AsyncIterator[RawUpstream]:
    upstream = RawUpstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server:
        yield upstream
        for connection in upstream.connections:
            connection.reset()
        await asyncio.sleep(0.01)


@pytest.fixture(params=["aiohttp", "httpx"])
def transport_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
async def transports() -> AsyncIterator[Transports]:
    async with open_transports() as opened:
        yield opened


@pytest.fixture
def deploy(
    raw: RawUpstream, transports: Transports, transport_kind: str
) -> Callable[..., Deployment]:
    """`deploy(model={…}, key=…)`: settings of the model and of the upstream."""

    def build(model: dict[str, Any] | None = None, **upstream: Any) -> Deployment:
        fields = {"base_url": raw.url, "transport": transport_kind, **upstream}
        return build_deployment(
            "pool",
            ModelSpec.model_validate({"upstream": "up", "model": "vendor/model", **(model or {})}),
            "up",
            UpstreamSpec.model_validate(fields),
            transports,
        )

    return build


@pytest.fixture
def asking() -> type[Asking]:
    return Asking
