"""Who is measured: the gateway, the bare prototype and the plain script, behind one interface."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.load import drive, request_bytes
from bench.measure import cpu_seconds, free_port, process, python, server
from bench.workload import gateway_config

LIMITS = (
    *("--budget", "1000000", "--budget-window", "month", "--concurrent", "1000"),
    *("--rpm", "1000000", "--tpm", "1000000000"),
)
"""Of a virtual key that nothing is refused for, though all of it is counted and reserved."""
KEY = "bench-key-0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Job:
    """What is asked for: `count` requests, or requests for so many seconds."""

    model: str
    concurrency: int
    stream: bool = True
    count: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Sample:
    """One round of a job. `cpu` and `wall` in seconds, for all requests together."""

    latencies: list[float]
    wall: float
    cpu: float
    events: int


class Contender(Protocol):
    """Something that answers with a graph."""

    async def run(self, job: Job) -> Sample:
        """Do the job once."""


@dataclass(frozen=True)
class Server:
    """A server on `port`, driven over its socket."""

    pid: int
    port: int
    key: str = ""

    async def run(self, job: Job) -> Sample:
        """Ask over loopback; the CPU time is the server's alone."""
        request = request_bytes(self.port, job.model, stream=job.stream, key=self.key)
        before = cpu_seconds(self.pid)
        result = await drive(
            self.port, request, concurrency=job.concurrency, count=job.count, seconds=job.seconds
        )
        cpu = cpu_seconds(self.pid) - before
        return Sample(result.latencies, result.wall, cpu, result.events)


@dataclass(frozen=True)
class Script:
    """The plain script, given its jobs over stdin."""

    child: subprocess.Popen[str]

    async def run(self, job: Job) -> Sample:
        """Hand over the job and wait for its line."""
        return await asyncio.to_thread(self._run, job)

    def _run(self, job: Job) -> Sample:
        assert self.child.stdin
        assert self.child.stdout
        self.child.stdin.write(json.dumps(vars(job)) + "\n")
        self.child.stdin.flush()
        return Sample(**json.loads(self.child.stdout.readline()))


@contextmanager
def fake_upstream() -> Iterator[str]:
    """The fake upstream in its own process; yields its base URL."""
    port = free_port()
    command = python("-m", "app.upstream.fake_server", "--port", str(port), "--log-size", "0")
    with server(command, f"http://127.0.0.1:{port}/v1/models"):
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def gateway(upstream: str, *, key: str = "", limits: Sequence[str] = ()) -> Iterator[Server]:
    """The gateway as it is served: in open mode, with a static key, or a virtual one with limits.

    The books are in a SQLite file of its own.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "bench.yaml"
        config.write_text(gateway_config(upstream))
        moa = str(Path(sys.executable).with_name("moa"))
        command = [moa, "serve", "--config", str(config), "--host", "127.0.0.1"]
        environ = {"DATABASE_URL": f"sqlite+aiosqlite:///{folder}/moa.db"}
        if limits:
            key = made_key([moa, "keys", "create", "bench", *limits], environ)
        elif key:
            environ["MOA_API_KEYS"] = key
        ready = f"http://127.0.0.1:{port}/health/ready"
        with server([*command, "--port", str(port)], ready, environ) as pid:
            yield Server(pid, port, key)


def made_key(command: Sequence[str], environ: Mapping[str, str]) -> str:
    """The secret of a new virtual key."""
    known = {**os.environ, **environ}
    made = subprocess.run(  # noqa: S603 - our own command
        command, env=known, check=True, capture_output=True, text=True
    )
    return made.stdout.strip()


@contextmanager
def bare(upstream: str) -> Iterator[Server]:
    """The bare prototype."""
    port = free_port()
    command = python("-m", "bench.bare", "--port", str(port), "--upstream", upstream)
    with server(command, f"http://127.0.0.1:{port}/") as pid:
        yield Server(pid, port)


@contextmanager
def script(upstream: str) -> Iterator[Script]:
    """The plain script."""
    with process(python("-m", "bench.script", "--upstream", upstream)) as child:
        yield Script(child)


@contextmanager
def contenders(names: list[str], upstream: str) -> Iterator[dict[str, Contender]]:
    """Those asked for, all running."""
    with ExitStack() as stack:
        started: dict[str, Contender] = {}
        for name in names:
            match name:
                case "gateway":
                    started[name] = stack.enter_context(gateway(upstream))
                case "gateway+keys":
                    started[name] = stack.enter_context(gateway(upstream, key=KEY))
                case "gateway+team":
                    started[name] = stack.enter_context(gateway(upstream, limits=LIMITS))
                case "bare":
                    started[name] = stack.enter_context(bare(upstream))
                case "script":
                    started[name] = stack.enter_context(script(upstream))
                case _:
                    raise SystemExit(f"no contender is called {name}")
        yield started
