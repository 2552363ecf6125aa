"""More requests than the gateway may work on, and clients that do not read what they asked for."""

import time

import httpx
import pytest

from app.upstream.fake_log import Ending
from app.upstream.fake_server import Reply
from tests.e2e.test_raw_http import read_to_close, read_until, request

STREAM = request({"model": "plain", "stream": True})
END = b"0\r\n\r\n"
AT_ONCE = 2.0
PATIENCE = 10.0


def until_served(gateway):
    """Ask until a place is free: it is a moment after the last bytes of whoever had it."""
    ends = time.monotonic() + PATIENCE
    ask = {"model": "plain", "messages": [{"role": "user", "content": "x"}]}
    while httpx.post(f"{gateway.url}/v1/chat/completions", json=ask).status_code != 200:
        assert time.monotonic() < ends


def test_an_overload_is_answered_at_once_while_running_streams_go_on(gateway_with, fake_upstream):
    fake_upstream.replies["plain-up"] = Reply(text="one two", after=1, then="gate")
    with (
        gateway_with(max_concurrent_requests=2) as gateway,
        gateway.connect() as one,
        gateway.connect() as two,
        gateway.connect() as three,
    ):
        early = []
        for connection in (one, two):
            connection.sendall(STREAM)
            early.append(read_until(connection, b'"one '))
        for _ in range(20):
            started = time.monotonic()
            three.sendall(STREAM)
            refusal = read_until(three, b"}}")
            assert time.monotonic() - started < AT_ONCE
            assert refusal.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nretry-after: 1\r\n" in refusal
        assert len(fake_upstream.log.entries) == 2
        fake_upstream.open_gate()
        for connection, got in zip((one, two), early, strict=True):
            assert b"[DONE]" in got + read_until(connection, END)
        fake_upstream.replies["plain-up"] = Reply()
        until_served(gateway)


def test_clients_that_read_nothing_hold_the_upstream_back_and_fill_no_memory(gateway):
    clients, words, piece = 5, 200_000, 16_384
    gateway.upstream.replies["plain-up"] = Reply(text="word ", tokens=words, split=piece)
    asked = gateway.upstream.log
    connections = [gateway.connect() for _ in range(clients)]
    try:
        for connection in connections:
            connection.sendall(request({"model": "plain", "stream": True}, "connection: close\r\n"))
            read_until(connection, b"word ")
        with pytest.raises(TimeoutError):  # the upstream is not rid of a single answer
            asked.wait(lambda all_: any(e.ending is not Ending.OPEN for e in all_), patience=1.0)
        state = gateway.server.server_state
        buffered = [each.transport.get_write_buffer_size() for each in state.connections]
        assert len(buffered) == clients
        assert max(buffered) < 1024 * 1024  # uvicorn's high-water mark, and what one read brings
        for connection in connections[1:]:
            connection.close()
        asked.wait(lambda all_: sum(e.ending is Ending.ABORTED for e in all_) == clients - 1)
        assert b"[DONE]" in read_to_close(connections[0])
    finally:
        for connection in connections:
            connection.close()
