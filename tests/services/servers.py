"""Real servers for tests: a Redis and a PostgreSQL of our own, on loopback, in a temporary folder.

Each can be stopped, killed, paused and started again on the same port with the same data. Only
processes started here are ever signalled, by their ids.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

PATIENCE = 30.0
"""Seconds a server may take to start or to end."""
STEP = 0.02


class CannotServe(Exception):
    """The server is not installed here, or does not start; the message says what to do."""


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(is_true: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Look every 20 ms; raises CannotServe once it took too long."""
    deadline = time.monotonic() + patience
    while not is_true():
        if time.monotonic() > deadline:
            raise CannotServe(f"{what} took more than {patience:.0f} s")
        time.sleep(STEP)


class Server:
    """One server process and its children; a subclass says how it starts and when it is ready."""

    name = ""

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"moa-test-{self.name}-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """What `REDIS_URL` or `DATABASE_URL` is set to."""
        raise NotImplementedError

    @property
    def log(self) -> Path:
        """What it wrote."""
        return self.folder / "log"

    @property
    def is_running(self) -> bool:
        """Whether its process is there, paused or not."""
        return self._process is not None and self._process.poll() is None

    def prepare(self) -> None:
        """Once, before the first start."""

    def command(self) -> Sequence[str]:
        """What is executed."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether it answers."""
        raise NotImplementedError

    def user(self) -> str | None:
        """As whom it runs, None for as whom we do."""
        return None

    def start(self) -> None:
        """Start it and return when it answers; raises CannotServe with what it wrote."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 (words of ours)
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                **as_user(self.user()),
            )
        try:
            wait_until(lambda: not self.is_running or self.is_ready(), f"{self.name}: starting")
        except CannotServe:
            self.kill()
            raise
        if not self.is_running:
            raise CannotServe(f"{self.name} ended at once:\n{self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        """End it in an orderly way; clients that are connected do not keep it."""
        self._end(lambda: self._signal(signal.SIGINT, [self._pid()]))

    def kill(self) -> None:
        """End it and its children at once, as a power cut would."""
        self._end(lambda: self._signal(signal.SIGKILL, self._pids()))

    def restart(self) -> None:
        """Stop it and start it again, on the same port with the same data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Let it hang: connections stay open and get no answer."""
        self._signal(signal.SIGSTOP, self._pids())

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT, self._pids())

    def _end(self, send: Callable[[], None]) -> None:
        if self._process is None:
            return
        pids = self._pids()
        if self.is_running:
            send()
            self.resume()
        self._process.wait(PATIENCE)
        wait_until(lambda: not any(map(is_alive, pids)), f"{self.name}: ending")
        self._process = None

    def _pid(self) -> int:
        if self._process is None:
            raise CannotServe(f"{self.name} is not started")
        return self._process.pid

    def _pids(self) -> list[int]:
        return [self._pid(), *children(self._pid())]

    def _signal(self, number: signal.Signals, pids: Sequence[int]) -> None:
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


class RedisProcess(Server):
    """A Redis that keeps nothing over a restart."""

    name = "redis"

    @property
    def url(self) -> str:
        """What `REDIS_URL` is set to."""
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> Sequence[str]:
        program = find("redis-server", "valkey-server")
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        return [program, *options, "--save", "", "--appendonly", "no", "--loglevel", "warning"]

    def is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


class PostgresProcess(Server):
    """A PostgreSQL with one database; run as another user where we are root, which it refuses."""

    name = "postgres"
    owner = "moa"

    @property
    def url(self) -> str:
        """What `DATABASE_URL` is set to."""
        return f"postgresql+asyncpg://{self.owner}@127.0.0.1:{self.port}/postgres"

    @property
    def data(self) -> Path:
        """Where its tables are."""
        return self.folder / "data"

    def user(self) -> str | None:
        return unprivileged() if os.geteuid() == 0 else None

    def prepare(self) -> None:
        if name := self.user():
            shutil.chown(self.folder, name)
        options = ["-D", str(self.data), "-U", self.owner, "-A", "trust", "--no-sync"]
        made = subprocess.run(  # noqa: S603 (words of ours)
            [find_postgres("initdb"), *options, "-E", "UTF8", "--locale=C"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=4 * PATIENCE,
            check=False,
            **as_user(self.user()),
        )
        if made.returncode:
            raise CannotServe(f"initdb failed:\n{made.stdout}{made.stderr}")

    def command(self) -> Sequence[str]:
        where = ["-D", str(self.data), "-k", str(self.folder), "-p", str(self.port)]
        loopback = ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"]
        return [find_postgres("postgres"), *where, *loopback, "-c", "fsync=off"]

    def is_ready(self) -> bool:
        address = ["-h", "127.0.0.1", "-p", str(self.port), "-t", "1", "-q"]
        return subprocess.call([find_postgres("pg_isready"), *address]) == 0  # noqa: S603 (ours)


def find(*names: str) -> str:
    """The first of these programs that is installed; raises CannotServe."""
    for name in names:
        if program := shutil.which(name):
            return program
    raise CannotServe(f"{' or '.join(names)} is not installed")


def find_postgres(name: str) -> str:
    """A program of PostgreSQL, which Debian keeps out of PATH, the newest first."""
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: -float(each.parent.name)
    )
    for folder in folders:
        if (folder / name).exists():
            return str(folder / name)
    return find(name)


def unprivileged() -> str:
    """The user PostgreSQL is run as where we are root."""
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def as_user(name: str | None) -> dict[str, object]:
    """Options of `subprocess` to run as this user, none for as ourselves."""
    if name is None:
        return {}
    entry = pwd.getpwnam(name)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def is_alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    return _status(pid)[0] not in {"", "Z", "X"}


def children(pid: int) -> list[int]:
    """The processes that this one started and that are still its own."""
    everyone = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [each for each in everyone if _status(each)[1] == pid]


def _status(pid: int) -> tuple[str, int]:
    """State and parent of a process; see proc(5)."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    return after_name[0], int(after_name[1])
