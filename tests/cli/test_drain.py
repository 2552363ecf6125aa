"""What SIGTERM does to `moa serve`: nothing new is taken, what runs ends, in time, with code 0."""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from app.upstream.fake_log import Ending
from app.upstream.fake_server import FakeUpstream, Reply
from tests.cli.serving import PATIENCE, Serve, Server, until_closed
from tests.e2e.test_raw_http import read_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

SOON = 15.0
"""Far below the drain of the tests that end early."""
LONG = "120"
each_number_of_workers = pytest.mark.parametrize("workers", [1, 2])


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def ask(server: Server, *, stream: bool) -> httpx.Response:
    body = {"model": "b", "stream": stream, "messages": [{"role": "user", "content": "hello"}]}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=PATIENCE)


def under_way(
    server: Server, upstream: FakeUpstream, aside: ThreadPoolExecutor, *, stream: bool, events: int
) -> Future[httpx.Response]:
    """A request whose upstream has been asked, and has sent so many events."""
    answer = aside.submit(ask, server, stream=stream)
    upstream.log.wait(lambda asked: bool(asked) and asked[0].events >= events)
    return answer


@each_number_of_workers
@pytest.mark.parametrize("stream", [True, False])
def test_what_runs_is_finished_while_connections_are_refused(
    serve: Serve,
    config: Path,
    fake_upstream: FakeUpstream,
    aside: ThreadPoolExecutor,
    *,
    workers: int,
    stream: bool,
) -> None:
    events = 1 if stream else 0
    fake_upstream.replies["b-1"] = Reply(
        text="To the end.", after=events or -1, then="gate", every="1ms" if stream else 0.0
    )
    server = serve("--config", config, "--workers", workers, MOA_DRAIN_TIMEOUT=LONG)
    answer = under_way(server, fake_upstream, aside, stream=stream, events=events)
    server.process.send_signal(signal.SIGTERM)
    until_closed(server.url)
    assert not answer.done()
    fake_upstream.open_gate()
    whole = answer.result(PATIENCE)
    assert whole.status_code == 200
    assert whole.text.rstrip().endswith("data: [DONE]") if stream else "To the end." in whole.text
    assert server.process.wait(SOON) == 0


@each_number_of_workers
def test_idle_connections_are_closed_at_once(serve: Serve, config: Path, workers: int) -> None:
    server = serve("--config", config, "--workers", workers, MOA_DRAIN_TIMEOUT=LONG)
    address = urlsplit(server.url)
    with (
        socket.create_connection((address.hostname, address.port), PATIENCE) as used,
        socket.create_connection((address.hostname, address.port), PATIENCE) as fresh,
    ):
        used.sendall(b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert read_until(used, b'"ready"}').startswith(b"HTTP/1.1 200 ")
        started = time.monotonic()
        assert server.stop(signal.SIGTERM) == 0
        assert time.monotonic() - started < SOON
        assert used.recv(1) == b""
        assert fresh.recv(1) == b""


@each_number_of_workers
@pytest.mark.parametrize("stream", [True, False])
def test_what_takes_longer_than_the_drain_is_told_so(
    serve: Serve,
    config: Path,
    fake_upstream: FakeUpstream,
    aside: ThreadPoolExecutor,
    *,
    workers: int,
    stream: bool,
) -> None:
    events = 1 if stream else 0
    fake_upstream.replies["b-1"] = Reply(
        text="Never done.", after=events or -1, then="hang", every="1ms" if stream else 0.0
    )
    variables = {"MOA_DRAIN_TIMEOUT": "1", "MOA_LOG_FORMAT": "text"}
    server = serve("--config", config, "--workers", workers, **variables)
    answer = under_way(server, fake_upstream, aside, stream=stream, events=events)
    assert server.stop(signal.SIGTERM) == 0
    told = answer.result(PATIENCE)
    if stream:
        assert told.status_code == 200
        assert told.text.count('data: {"error":') == 1
        assert "[DONE]" not in told.text
    else:
        assert told.status_code == 503
        assert told.headers["retry-after"] == "1"
    assert '"overloaded"' in told.text
    fake_upstream.log.wait(lambda asked: asked[0].ending is Ending.ABORTED)
    log = (config.parent / "log").read_text()
    assert "stopped with 1 request unfinished" in log
    assert "Traceback" not in log
    assert "client_left" not in log
