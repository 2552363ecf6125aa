"""Bodies that never end, drains that do, errors behind the last token, and odd heads."""

import io
import logging
from dataclasses import replace

import pytest

from app.telemetry.logs import LOGGERS, set_up_logging
from app.upstream.fake_log import Ending
from app.upstream.fake_server import Reply
from tests.e2e.test_raw_http import SHORT, read_to_close, read_until, request

STREAM = {"model": "plain", "stream": True}
HEAD = b"HEAD /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"
END = b"0\r\n\r\n"


@pytest.mark.parametrize("include_usage", [False, True])
@pytest.mark.parametrize("joined", [False, True])
def test_an_error_of_the_upstream_after_the_finish_reason_is_no_silent_success(
    gateway, include_usage, joined
):
    events = 3  # two words and the finish reason
    gateway.upstream.replies["plain-up"] = Reply(
        text="one two", after=events, then="error", joined=joined
    )
    options = {"stream_options": {"include_usage": True}} if include_usage else {}
    with gateway.connect() as connection:
        connection.sendall(request({**STREAM, **options}))
        raw = read_until(connection, END)

    assert raw.count(b'data: {"error":') == 1
    assert raw.index(b'"two"') < raw.index(b'data: {"error":')
    assert b"[DONE]" not in raw


def test_such_an_error_fails_a_whole_answer_too(gateway):
    gateway.upstream.replies["plain-up"] = Reply(then="error")
    with gateway.connect() as connection:
        connection.sendall(request({"model": "plain"}))
        assert read_until(connection, b"}}").startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("sent", [-5, None])
def test_a_body_that_does_not_come_is_refused_and_the_connection_closed(gateway_with, sent):
    whole = request({"model": "plain"})
    sent = whole.index(b"\r\n\r\n") + 4 if sent is None else sent
    with gateway_with() as gateway, gateway.connect() as connection:
        connection.sendall(HEAD)
        assert read_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")  # it has started
        state = gateway.server.config.app.state
        state.services = replace(state.services, body_patience=SHORT)
        connection.sendall(whole[:sent])
        raw = read_to_close(connection)

    assert raw.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in raw


@pytest.fixture
def process_log():
    """What a process of its own would log; the loggers are as they were afterwards."""
    loggers = [logging.getLogger(name) for name in (*LOGGERS, "uvicorn.error", "uvicorn.access")]
    before = [
        (each, each.handlers[:], each.level, each.propagate, each.disabled) for each in loggers
    ]
    log = io.StringIO()
    set_up_logging("info", "text", log)
    logging.getLogger("uvicorn.error").setLevel(logging.NOTSET)
    yield log
    for logger, handlers, level, propagate, disabled in before:
        logger.handlers[:], logger.propagate, logger.disabled = handlers, propagate, disabled
        logger.setLevel(level)


def test_the_end_of_a_drain_is_an_error_event_and_no_trace(
    gateway_with, fake_upstream, process_log
):
    fake_upstream.replies["plain-up"] = Reply(text="one two", after=1, then="hang")
    with gateway_with() as gateway, gateway.connect() as connection:
        gateway.server.config.timeout_graceful_shutdown = 0
        connection.sendall(request(STREAM))
        early = read_until(connection, b'"one ')
        gateway.drain()
        raw = early + read_to_close(connection)
        fake_upstream.log.wait(lambda asked: asked[0].ending is Ending.ABORTED)

    assert raw.count(b'data: {"error":') == 1
    assert raw.endswith(END)
    log = process_log.getvalue()
    assert "timeout graceful shutdown exceeded" in log
    assert log.count("shutting down; ask again") == 1
    assert "Traceback" not in log


def test_the_answer_to_head_has_no_body(gateway):
    with gateway.connect() as connection:
        for _ in range(2):
            connection.sendall(HEAD)
            raw = read_until(connection, b"\r\n\r\n")
            assert raw.startswith(b"HTTP/1.1 200 ")
            assert raw.endswith(b"\r\n\r\n")


def test_two_hosts_are_refused_in_open_mode(gateway):
    with gateway.connect() as connection:
        connection.sendall(request({"model": "plain"}, "host: evil.example\r\n"))
        assert read_until(connection, b"}}").startswith(b"HTTP/1.1 400 ")
