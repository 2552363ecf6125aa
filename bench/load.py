"""A cheap load generator: one keep-alive connection per slot, no HTTP library, no JSON."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

PATIENCE = 30.0
END_OF_CHUNKS = b"0\r\n\r\n"


@dataclass(slots=True)
class Result:
    """What a drive saw: seconds per request, wall seconds in all, events in all."""

    latencies: list[float] = field(default_factory=list)
    wall: float = 0.0
    events: int = 0


class Connection(asyncio.Protocol):
    """Sends a request, collects its response; the caller asks again when it is whole."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.transport: asyncio.Transport | None = None
        self._done: asyncio.Future[None] | None = None
        self._length: int | None = None
        self._begun: asyncio.Event | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Collect, and wake the caller when the response is whole."""
        self.buffer += data
        if self._length is None:
            self._length = self._read_head()
        if self._begun is not None and b"data: " in self.buffer:
            self._begun.set()
        if self._done is not None and not self._done.done() and self._is_whole():
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """A response that never becomes whole is an error."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or ConnectionError("closed before the end"))

    def send(self, request: bytes) -> asyncio.Future[None]:
        """Ask; the future is done when the response is whole."""
        assert self.transport is not None
        self.buffer.clear()
        self._length = None
        self._done = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._done

    async def first_event(self) -> None:
        """Wait for the first event of a stream."""
        self._begun = asyncio.Event()
        if b"data: " not in self.buffer:
            await self._begun.wait()

    def _read_head(self) -> int | None:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self.buffer[:end]).lower()
        _, found, rest = head.partition(b"content-length:")
        return end + 4 + int(rest.split(b"\r\n")[0]) if found else 0

    def _is_whole(self) -> bool:
        if self._length:
            return len(self.buffer) >= self._length
        return self._length == 0 and self.buffer.endswith(END_OF_CHUNKS)


def request_bytes(port: int, model: str, *, stream: bool, key: str = "") -> bytes:
    """A chat request, ready to send."""
    question = "Which of the two roads is the shorter one, and why would anybody take the other?"
    body: dict[str, object] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "Answer briefly."},
            {"role": "user", "content": question},
        ],
    }
    if stream:
        body["stream"] = True
    payload = json.dumps(body).encode()
    authorization = f"authorization: Bearer {key}\r\n" if key else ""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n{authorization}"
        f"content-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


async def drive(
    port: int, request: bytes, *, concurrency: int, count: int = 0, seconds: float = 0.0
) -> Result:
    """Ask `count` times, or for so many seconds, over so many connections at once."""
    loop = asyncio.get_running_loop()
    result = Result()
    started = time.perf_counter()
    stop = started + seconds
    left = count

    def wanted() -> bool:
        nonlocal left
        left -= 1
        return left >= 0 if count else time.perf_counter() < stop

    async def slot() -> None:
        transport, connection = await loop.create_connection(Connection, "127.0.0.1", port)
        try:
            await _ask(connection, request, wanted, result)
        finally:
            transport.close()

    async with asyncio.TaskGroup() as slots:
        for _ in range(concurrency):
            slots.create_task(slot())
    result.wall = time.perf_counter() - started
    return result


async def _ask(
    connection: Connection, request: bytes, wanted: Callable[[], bool], result: Result
) -> None:
    streamed = b'"stream": true' in request
    while wanted():
        started = time.perf_counter()
        async with asyncio.timeout(PATIENCE):
            await connection.send(request)
        result.latencies.append(time.perf_counter() - started)
        answer = connection.buffer
        if not answer.startswith(b"HTTP/1.1 200") or (streamed and b"[DONE]" not in answer):
            raise RuntimeError(f"no answer: {bytes(answer[:600])!r}")
        result.events += answer.count(b"data: {")


async def hold_open(port: int, request: bytes, streams: int) -> list[asyncio.Transport]:
    """Open so many streams and return when each has had its first event; the caller closes them."""
    loop = asyncio.get_running_loop()
    held = []
    for _ in range(streams):
        transport, connection = await loop.create_connection(Connection, "127.0.0.1", port)
        connection.send(request).add_done_callback(lambda done: done.exception())
        held.append((transport, connection))
        await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
        for _, connection in held:
            await connection.first_event()
    return [transport for transport, _ in held]
