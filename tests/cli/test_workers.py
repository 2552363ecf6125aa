"""Workers that die, and what their parent makes of it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.upstream.fake_server import FakeUpstream, Reply
from tests.cli.serving import PATIENCE, Serve, Server, children

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kill_a_worker(server: Server) -> None:
    os.kill(int(children(server).pop()), signal.SIGKILL)


def in_flight(server: Server) -> str:
    lines = httpx.get(f"{server.url}/metrics", timeout=PATIENCE).text.splitlines()
    return next(line for line in lines if line.startswith("moa_inflight "))


def test_a_worker_that_dies_is_replaced_even_while_the_file_is_wrong(
    serve: Serve, config: Path, tmp_path: Path
) -> None:
    server = serve("--config", config, "--workers", "2")
    log, good = tmp_path / "log", config.read_text()
    config.write_text("graphs: [")
    kill_a_worker(server)
    until(lambda: "Application startup failed" in log.read_text())
    assert server.ask().status_code == 200
    config.write_text(good)
    until(lambda: log.read_text().count("Application startup complete") == 3)
    assert server.stop(signal.SIGTERM) == 0


def test_what_a_dead_worker_was_working_on_is_no_longer_counted(
    serve: Serve, config: Path, fake_upstream: FakeUpstream
) -> None:
    fake_upstream.replies["a-1"] = Reply(after=-1, then="hang")
    server = serve("--config", config, "--workers", "2")
    with ThreadPoolExecutor() as aside:
        asked = aside.submit(server.ask, "a")
        fake_upstream.log.wait(bool)
        assert in_flight(server) == "moa_inflight 1.0"
        for worker in children(server):
            os.kill(int(worker), signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            asked.result(PATIENCE)
    assert in_flight(server) == "moa_inflight 0.0"
    assert server.stop(signal.SIGTERM) == 0
