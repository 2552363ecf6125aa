"""Clients that hold a connection without asking anything, over real sockets."""

import socket
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
import uvicorn

from app.cli.connection import HEAD_PATIENCE, MAX_HEAD_BYTES, Connection
from app.config import Settings
from app.main import create_app
from app.serving.runtime import runtime_of
from app.upstream.fake import FakeModel
from tests.cli.conftest import config
from tests.e2e.test_raw_http import read_to_close, read_until, request

__all__ = ["config"]  # what the command serves

SOON, LATEST = 0.3, 10.0
LIVE = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"


class Hasty(Connection):
    patience = SOON


@contextmanager
def listening():
    app = create_app(Settings.read({}), runtime=runtime_of({"plain": FakeModel("plain")}))
    chosen = uvicorn.Config(app, http=Hasty, log_config=None, access_log=False, lifespan="on")
    server = uvicorn.Server(chosen)
    server.force_exit = True
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            server.should_exit = True
            thread.join(LATEST)


@pytest.fixture(scope="module")
def address():
    with listening() as found:
        yield found


@pytest.fixture
def client(address):
    with socket.create_connection(address, timeout=LATEST) as connection:
        yield connection


def dribble(connection, piece):
    """Send a piece over and over, until the other side has closed the connection."""
    ends = time.monotonic() + LATEST
    connection.settimeout(SOON / 10)
    while time.monotonic() < ends:
        try:
            connection.sendall(piece)
            if connection.recv(65536) == b"":
                return
        except TimeoutError:
            continue
        except ConnectionError:
            return
    raise TimeoutError("the connection is still open")


def test_a_client_that_says_nothing_is_left(client):
    assert read_to_close(client) == b""


def test_a_head_that_never_ends_is_closed_however_often_some_of_it_comes(client):
    client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n")
    dribble(client, b"x-slow: 1\r\n")


def test_empty_lines_between_two_requests_keep_no_connection(client):
    client.sendall(LIVE)
    read_until(client, b'"live"}')
    dribble(client, b"\r\n")


def test_what_is_left_of_a_body_that_was_answered_early_keeps_no_connection(client):
    client.sendall(b"POST /nowhere HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999999\r\n\r\n")
    dribble(client, b"x")


def test_a_head_without_an_end_fills_no_memory(client):
    client.sendall(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nx-long: ")
    endless = b"x" * 100 * 1024 * 1024
    with pytest.raises(ConnectionError):  # at the latest when the socket's buffers are full
        client.sendall(endless)


def test_a_head_above_the_limit_is_a_431(client):
    client.sendall(b"GET / HTTP/1.1\r\nx-long: " + b"x" * MAX_HEAD_BYTES)
    assert read_to_close(client).startswith(b"HTTP/1.1 431 ")


def test_who_asks_in_time_is_served_again_and_again(client):
    for _ in range(3):
        for byte in (LIVE[:20], LIVE[20:]):
            client.sendall(byte)
        assert read_until(client, b'"live"}').startswith(b"HTTP/1.1 200 ")


def test_time_outs_of_the_head_do_not_end_an_answer_that_takes_longer(client, address):
    """The idle connection beside it is the clock: it is closed while the body is waited for."""
    whole = request({"model": "plain"})
    client.sendall(whole[:-1])
    with socket.create_connection(address, timeout=LATEST) as clock:
        assert read_to_close(clock) == b""
    client.sendall(whole[-1:])
    assert read_until(client, b"}}").startswith(b"HTTP/1.1 200 ")


def test_the_command_listens_with_these_limits(command, config):
    server = urlsplit(command("--config", config).url)
    assert Connection.patience == HEAD_PATIENCE <= 60
    with socket.create_connection((server.hostname, server.port), timeout=LATEST) as client:
        client.sendall(b"GET / HTTP/1.1\r\nx-long: " + b"x" * MAX_HEAD_BYTES)
        assert read_to_close(client).startswith(b"HTTP/1.1 431 ")
