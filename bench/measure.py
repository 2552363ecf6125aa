"""Processes under measurement: started, asked for CPU time and memory, ended by id. Linux only."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
CPUCLOCK_SCHED = 2


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, all threads, to the nanosecond (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)


def resident_mb(pid: int) -> float:
    """Resident memory in MB (10^6 bytes)."""
    return _status(pid, "VmRSS:") * 1024 / 1e6


def threads(pid: int) -> int:
    """How many threads a process has."""
    return _status(pid, "Threads:")


def open_files(pid: int) -> int:
    """How many files and sockets a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def raise_file_limit() -> None:
    """As many open sockets as the system allows; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def python(*arguments: str) -> list[str]:
    """A command line of this interpreter."""
    return [sys.executable, *arguments]


@contextmanager
def process(
    command: Sequence[str], environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A child with pipes to stdin and stdout, ended on the way out; stderr only if it fails."""
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(  # noqa: S603 - our own command lines
            command,
            cwd=ROOT,
            env={**_environment(), **(environ or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            yield child
        except Exception:
            errors.seek(0)
            sys.stderr.write(errors.read()[-4_000:])
            raise
        finally:
            _end(child)


@contextmanager
def server(
    command: Sequence[str], ready: str, environ: Mapping[str, str] | None = None
) -> Iterator[int]:
    """A server whose address `ready` answers; yields its process id."""
    with process(command, environ) as child:
        _await_ready(child, ready)
        yield child.pid


def _await_ready(child: subprocess.Popen[str], address: str, patience: float = 20.0) -> None:
    give_up = time.monotonic() + patience
    while time.monotonic() < give_up:
        if child.poll() is not None:
            raise RuntimeError(f"{child.args!r} ended with {child.returncode}")
        if _answers(address):
            return
        time.sleep(0.05)
    raise TimeoutError(f"{address} does not answer")


def _environment() -> dict[str, str]:
    """Ours, without settings of the gateway."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MOA_")}


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=1).close()  # noqa: S310 - our own addresses
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _end(child: subprocess.Popen[str]) -> None:
    child.terminate()
    try:
        child.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
