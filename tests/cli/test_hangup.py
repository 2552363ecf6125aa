"""What SIGHUP does to `moa serve`: the configuration is read again, and nobody notices."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Event

import httpx
import pytest

from tests.cli.serving import PATIENCE, Serve, Server, children

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

REQUESTS = 1000
RELOADS = 10
CLIENTS = 8
each_number_of_workers = pytest.mark.parametrize("workers", [1, 2])


def reloads(server: Server, outcome: str) -> int:
    metrics = httpx.get(f"{server.url}/metrics", timeout=PATIENCE).text
    found = re.search(rf'moa_config_reloads_total{{outcome="{outcome}"}} (\d+)', metrics)
    return int(found[1]) if found else 0


def hang_up(server: Server, workers: int, outcome: str) -> None:
    """Send the signal; returns when every worker has booked that outcome."""
    wanted = reloads(server, outcome) + workers
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + PATIENCE
    while reloads(server, outcome) < wanted:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ask_on(url: str, numbers: Iterator[int], reloaded: Event) -> list[str]:
    """Ask until all is reloaded and enough was asked; what was wrong with any answer."""
    wrong = []
    with httpx.Client(timeout=PATIENCE) as client:
        for number in numbers:
            if number >= REQUESTS and reloaded.is_set():
                break
            body = {
                "model": ("duo", "b")[number // 2 % 2],
                "stream": number % 2 == 0,
                "messages": [{"role": "user", "content": "hello"}],
            }
            answer = client.post(f"{url}/v1/chat/completions", json=body)
            whole = "[DONE]" in answer.text if body["stream"] else "An answer." in answer.text
            if answer.status_code != 200 or not whole or "error" in answer.text:
                wrong.append(f"{number}: {answer.status_code} {answer.text[:300]}")
    return wrong


@each_number_of_workers
def test_not_one_request_fails_while_the_configuration_is_reloaded(
    serve: Serve, config: Path, workers: int
) -> None:
    server = serve("--config", config, "--workers", workers, MOA_WATCH_CONFIG="false")
    before = children(server)
    text, numbers, reloaded = config.read_text(), count(), Event()
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(ask_on, server.url, numbers, reloaded) for _ in range(CLIENTS)]
        for number in range(RELOADS):
            graph = f"  new-{number}: {{layers: [{{proposers: [a]}}], aggregator: b}}\n"
            config.write_text(text + graph)
            hang_up(server, workers, "ok")
        reloaded.set()
        wrong = [each for client in clients for each in client.result()]
    assert wrong == []
    assert next(numbers) >= REQUESTS
    assert server.ask(f"new-{RELOADS - 1}").status_code == 200
    assert server.ask("new-0").status_code == 404
    assert children(server) == before
    assert server.stop(signal.SIGTERM) == 0


@each_number_of_workers
def test_a_bad_file_changes_nothing_and_is_named_with_its_line(
    serve: Serve, config: Path, tmp_path: Path, workers: int
) -> None:
    arguments = ("--config", config, "--workers", workers)
    server = serve(*arguments, MOA_WATCH_CONFIG="false", MOA_LOG_FORMAT="text")
    before = children(server)
    good = config.read_text()
    config.write_text(good.replace("aggregator: a", "aggregator: nobody"))
    hang_up(server, workers, "refused")
    log = (tmp_path / "log").read_text()
    assert log.count(f"refused, all is as before: {config}:12: graphs.duo.aggregator: ") == workers
    assert server.ask("duo").status_code == 200
    config.write_text(good)
    hang_up(server, workers, "unchanged")
    assert children(server) == before
