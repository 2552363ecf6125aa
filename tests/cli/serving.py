"""`moa serve` as a process of its own, for tests that ask it or send it signals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import httpx

PATIENCE = 60.0
COMMAND = (sys.executable, "-m", "app", "serve")


@dataclass
class Server:
    """A running server; `lines` is what it printed up to the command to try."""

    process: subprocess.Popen[str]
    lines: list[str]

    @property
    def url(self) -> str:
        found = re.search(r"http://\S+:\d+", self.lines[0])
        assert found is not None
        return found[0]

    def ask(self, model: str = "duo") -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=PATIENCE)

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


Serve: TypeAlias = Callable[..., Server]


@contextmanager
def serving(folder: Path) -> Iterator[Serve]:
    """Starts a server on a free port and waits until it says that it listens.

    What it logs goes to the file `log` in the folder.
    """
    with ExitStack() as stack:

        def start(*arguments: object, **environ: str) -> Server:
            log = stack.enter_context((folder / "log").open("w"))
            process = subprocess.Popen(  # noqa: S603 - our own command
                [*COMMAND, "--port", "0", *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **environ},
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            lines: list[str] = []
            while not lines or not lines[-1].startswith("curl "):
                line = process.stdout.readline()
                assert line, (folder / "log").read_text()
                lines.append(line.rstrip("\n"))
            return Server(process, lines)

        yield start


def until_closed(url: str) -> None:
    """Wait until new connections are refused, as they are once the drain has begun."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            httpx.get(f"{url}/health/live")
        except httpx.TransportError:
            return
    raise TimeoutError("the server still accepts connections")


def children(server: Server) -> set[str]:
    """The process ids of its workers."""
    command = ["ps", "-o", "pid=,args=", "--ppid", str(server.process.pid)]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    return {line.split()[0] for line in listed.stdout.splitlines() if "spawn_main" in line}
