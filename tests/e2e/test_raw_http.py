"""What is on the wire, byte by byte, and what happens when a client leaves or is slow."""

import socket

import orjson
import pytest

from app.upstream.fake_log import Ending
from app.upstream.fake_server import Reply

SHORT = 0.05
LONG = 1_000.0


def request(fields: dict, headers: str = "", *, host: str = "localhost") -> bytes:
    body = orjson.dumps({"messages": [{"role": "user", "content": "Hi"}], **fields})
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    )
    return head.encode() + body


def read_until(connection: socket.socket, end: bytes) -> bytes:
    got = b""
    while end not in got:
        piece = connection.recv(65536)
        assert piece, got
        got += piece
    return got


def read_to_close(connection: socket.socket) -> bytes:
    got = b""
    while piece := connection.recv(65536):
        got += piece
    return got


def test_a_stream_on_the_wire(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="one two")
    with gateway.connect() as connection:
        connection.sendall(request({"model": "plain", "stream": True}))
        raw = read_until(connection, b"0\r\n\r\n")

    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\ncontent-type: text/event-stream; charset=utf-8" in head
    assert b"\r\nx-accel-buffering: no" in head
    assert b"\r\nx-moa-run-id: " in head
    assert body.count(b"data: {") == 3
    assert body.rstrip().endswith(b"data: [DONE]\n\n\r\n0")


def test_a_body_lost_to_an_upgrade_is_refused_by_name(gateway):
    upgrade = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    with gateway.connect() as connection:
        connection.sendall(request({"model": "plain"}, upgrade))
        raw = read_until(connection, b"}}")

    assert raw.startswith(b"HTTP/1.1 400 ")
    assert b"Upgrade" in raw


def test_a_connection_is_kept_after_a_stream(gateway):
    with gateway.connect() as connection:
        for _ in range(3):
            connection.sendall(request({"model": "plain", "stream": True}))
            assert b"[DONE]" in read_until(connection, b"0\r\n\r\n")


def test_tokens_leave_one_by_one(gateway_with, fake_upstream):
    fake_upstream.replies["plain-up"] = Reply(text="one two", after=1, then="gate")
    with gateway_with(commit_after=LONG) as gateway, gateway.connect() as connection:
        connection.sendall(request({"model": "plain", "stream": True}))
        early = read_until(connection, b'"one ')
        assert b"two" not in early
        fake_upstream.open_gate()
        assert b"two" in read_until(connection, b"[DONE]")


def test_headers_come_after_commit_after_and_then_heartbeats(gateway_with, fake_upstream):
    fake_upstream.replies["plain-up"] = Reply(after=-1, then="gate")
    settings = {"commit_after": SHORT, "heartbeat": SHORT}
    with gateway_with(**settings) as gateway, gateway.connect() as connection:
        connection.sendall(request({"model": "plain", "stream": True}))
        assert read_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 200")
        assert b"data:" not in read_until(connection, b": still working")
        fake_upstream.open_gate()
        assert b"An " in read_until(connection, b"[DONE]")


def test_an_error_after_the_commit_ends_the_stream_without_done(gateway_with, fake_upstream):
    fake_upstream.replies["plain-up"] = Reply(text="one two", after=1, then="cut")
    with gateway_with() as gateway, gateway.connect() as connection:
        connection.sendall(request({"model": "plain", "stream": True}))
        raw = read_until(connection, b"0\r\n\r\n")

    assert raw.count(b'data: {"error":') == 1
    assert b"[DONE]" not in raw
    assert b'"finish_reason":"' not in raw


PHASES = {
    "before commit": ({"model": "plain", "stream": True}, Reply(after=-1, then="hang"), LONG, None),
    "after commit": (
        {"model": "plain", "stream": True},
        Reply(after=-1, then="hang"),
        SHORT,
        b"\r\n\r\n",
    ),
    "in mid-stream": (
        {"model": "plain", "stream": True},
        Reply(text="one two", after=1, then="hang"),
        LONG,
        b'"one ',
    ),
    "unstreamed": ({"model": "plain"}, Reply(after=-1, then="hang"), LONG, None),
    "while proposers run": (
        {"model": "panel", "stream": True},
        Reply(after=-1, then="hang"),
        LONG,
        None,
    ),
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_client_that_leaves_closes_the_upstreams_sockets(gateway_with, fake_upstream, phase):
    fields, reply, commit_after, awaited = PHASES[phase]
    fake_upstream.default, default = reply, fake_upstream.default
    calls = 2 if fields["model"] == "panel" else 1
    try:
        with gateway_with(commit_after=commit_after) as gateway:
            with gateway.connect() as connection:
                connection.sendall(request(fields))
                fake_upstream.log.wait(lambda asked: len(asked) == calls)
                if awaited:
                    read_until(connection, awaited)
            fake_upstream.log.wait(
                lambda asked: [each.ending for each in asked] == [Ending.ABORTED] * calls
            )
    finally:
        fake_upstream.default = default


def test_a_slow_client_slows_the_upstream_and_still_gets_everything(gateway):
    words = 100_000
    gateway.upstream.replies["plain-up"] = Reply(text="word ", tokens=words, split=16_384)
    asked = gateway.upstream.log
    with gateway.connect() as connection:
        connection.sendall(request({"model": "plain", "stream": True}, "connection: close\r\n"))
        head = read_until(connection, b"word ")
        with pytest.raises(TimeoutError):
            asked.wait(lambda entries: entries[0].ending is not Ending.OPEN, patience=1.0)
        raw = head + read_to_close(connection)

    assert raw.count(b"word ") == words
    assert b"[DONE]" in raw


def test_a_stranger_is_refused_before_the_body_is_sent(gateway_with):
    with gateway_with(api_keys=("moa-key",)) as gateway, gateway.connect() as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n"
            b"expect: 100-continue\r\n\r\n"
        )
        raw = read_until(connection, b"}}")

    assert raw.startswith(b"HTTP/1.1 401 ")
    assert b"\r\nx-request-id: req-" in raw


def test_the_key_is_all_a_client_needs(gateway_with):
    with gateway_with(api_keys=("moa-key",)) as gateway, gateway.connect() as connection:
        headers = "authorization: Bearer moa-key\r\n"
        connection.sendall(request({"model": "plain"}, headers, host="gateway.example"))
        raw = read_until(connection, b"}")

    assert raw.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("host", "headers", "status"),
    [
        ("localhost", "", b"200"),
        ("evil.example", "", b"403"),
        ("localhost", "origin: http://evil.example\r\n", b"403"),
    ],
)
def test_open_mode_keeps_web_pages_out(gateway, host, headers, status):
    with gateway.connect() as connection:
        connection.sendall(request({"model": "plain"}, headers, host=host))
        assert read_until(connection, b"}").startswith(b"HTTP/1.1 " + status)


def test_a_chunked_body_above_the_limit_is_refused(gateway_with):
    with gateway_with(max_body_bytes=1024) as gateway, gateway.connect() as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
            b"400\r\n%b\r\n1\r\n \r\n" % (b" " * 1024)
        )
        assert read_until(connection, b"}}").startswith(b"HTTP/1.1 413 ")


def test_the_clients_key_does_not_go_upstream_and_ours_not_to_the_client(gateway_with):
    with gateway_with(api_keys=("moa-planted",)) as gateway, gateway.connect() as connection:
        headers = "authorization: Bearer moa-planted\r\nx-secret: 1\r\n"
        connection.sendall(request({"model": "plain"}, headers))
        raw = read_until(connection, b"}")
        (asked,) = gateway.upstream.log.entries

    assert asked.headers["authorization"] == "Bearer sk-planted-upstream-key"
    assert "moa-planted" not in str(asked)
    assert "x-secret" not in asked.headers
    assert b"sk-planted" not in raw
