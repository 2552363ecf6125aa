"""Who is said to have left, over a real socket: nobody who read to the end."""

import logging
import threading

import pytest

from app.upstream.fake_log import Ending
from app.upstream.fake_server import Reply
from tests.e2e.test_raw_http import read_to_close, read_until, request

STREAM = {"model": "plain", "stream": True}
END = b"0\r\n\r\n"


@pytest.fixture
def logged(caplog):
    """`logged()`: the fields of the next request's line in the access log."""
    came = threading.Semaphore(0)

    class Bell(logging.Handler):
        def emit(self, record):
            lines.append(record.fields)
            came.release()

    lines: list[dict] = []
    log = logging.getLogger("moa.access")
    bell = Bell()
    log.addHandler(bell)
    with caplog.at_level(logging.INFO, "moa.access"):

        def following():
            assert came.acquire(timeout=10)
            return lines.pop(0)

        yield following
    log.removeHandler(bell)


@pytest.mark.parametrize("headers", ["", "connection: close\r\n"])
@pytest.mark.parametrize("stream", [False, True])
def test_who_reads_to_the_end_did_not_leave(gateway, logged, headers, stream):
    with gateway.connect() as connection:
        connection.sendall(request({"model": "plain", "stream": stream}, headers))
        if headers:
            read_to_close(connection)
        else:
            read_until(connection, END if stream else b"}}")
        line = logged()

    assert line["outcome"] == "ok"
    assert "client_left" not in line


def test_a_stream_that_ends_in_an_error_was_not_left(gateway, logged):
    gateway.upstream.replies["plain-up"] = Reply(text="one two", after=1, then="cut")
    with gateway.connect() as connection:
        connection.sendall(request(STREAM))
        read_until(connection, END)
        line = logged()

    assert line["error"]
    assert "client_left" not in line


def test_who_reads_to_the_end_of_a_drain_did_not_leave(gateway_with, fake_upstream, logged):
    fake_upstream.replies["plain-up"] = Reply(text="one two", after=1, then="gate")
    with gateway_with() as gateway, gateway.connect() as connection:
        connection.sendall(request(STREAM))
        read_until(connection, b'"one ')
        gateway.drain()
        fake_upstream.open_gate()
        assert b"[DONE]" in read_to_close(connection)
        line = logged()

    assert line["outcome"] == "ok"
    assert "client_left" not in line


def test_who_leaves_is_said_to_have_left(gateway, logged):
    gateway.upstream.replies["plain-up"] = Reply(text="one two", after=1, then="hang")
    with gateway.connect() as connection:
        connection.sendall(request(STREAM))
        read_until(connection, b'"one ')
    gateway.upstream.log.wait(lambda asked: asked[0].ending is Ending.ABORTED)

    assert logged()["client_left"] is True
