"""Several serving processes that share a socket, and their parent, which passes signals on.

The parent is uvicorn's; it serves nothing itself.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from app.cli.process import BREAK_OFF, Server

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
LAST_WAIT = 3 * BREAK_OFF
"""Seconds above the drain after which a worker that has not ended is ended."""
RESTART_PAUSE = 5.0
"""Seconds between two replacements of workers that cannot start any more."""

_log = logging.getLogger("moa.workers")


@contextmanager
def hangup_blocked() -> Iterator[None]:
    """SIGHUP waits meanwhile, and in children until they say that they heed it.

    Until then it would end them.
    """
    if sys.platform == "win32":
        yield
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


class Worker(Process):
    """A serving process and the parent's line to it."""

    @property
    def server(self) -> Server:
        """What runs in the worker."""
        if not isinstance(self._server, Server):
            self._server = Server(self.config)
        return self._server

    def start(self) -> None:
        """Start it."""
        with hangup_blocked():
            super().start()


class Workers(Multiprocess):
    """Says when every worker is ready; replaces those that die; ends within the drain."""

    def __init__(
        self, config: uvicorn.Config, listener: socket.socket, ready: Callable[[], None]
    ) -> None:
        super().__init__(config, [listener])
        self.could_start = True
        self._ready: Callable[[], None] | None = ready
        self._next_restart = 0.0

    def init_processes(self) -> None:
        """Start all."""
        self.processes = [self._started() for _ in range(self.processes_num)]

    def keep_subprocess_alive(self) -> None:
        """Called twice a second.

        A worker that cannot start ends everything, but only at the start: later it may be a
        configuration that somebody is just writing, and the others serve.
        """
        for at, worker in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            if not worker.is_alive(timeout=self.config.timeout_worker_healthcheck):
                self._replace(at)
        ready = self._ready
        if ready is not None and all(worker.is_ready(timeout=1) for worker in self.processes):
            self._ready = None
            ready()

    def handle_hup(self) -> None:
        """Every worker reloads the configuration."""
        for worker in self.processes:
            if worker.pid is not None and worker.exitcode is None:
                os.kill(worker.pid, signal.SIGHUP)

    def handle_ttin(self) -> None:
        """One more worker."""
        self.processes_num += 1
        self.processes.append(self._started())

    def terminate_all(self) -> None:
        """Refuse connections, which would wait for nobody while the workers drain; then end."""
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    def join_all(self) -> None:
        """Wait for the workers' drain, no longer."""
        drain = self.config.timeout_graceful_shutdown or 0
        ends = time.monotonic() + drain + LAST_WAIT
        for worker in self.processes:
            worker.process.join(max(0.0, ends - time.monotonic()))
            if worker.exitcode is None:
                _log.error("worker %s did not end in time and is killed", worker.pid)
                _bury(worker)

    def _replace(self, at: int) -> None:
        worker = self.processes[at]
        _bury(worker)
        failed = worker.exitcode == STARTUP_FAILURE
        if failed and self._ready is not None:
            self.could_start = False
            self.should_exit.set()
            return
        if time.monotonic() < self._next_restart:
            return
        if failed:
            self._next_restart = time.monotonic() + RESTART_PAUSE
        _log.error("worker %s ended with %s and is replaced", worker.pid, worker.exitcode)
        self.processes[at] = self._started()

    def _started(self) -> Worker:
        worker = Worker(self.config, self.sockets)
        worker.start()
        return worker


def _bury(worker: Process) -> None:
    """End a worker, if it has not ended, and take its part out of the metrics of what is."""
    worker.kill()
    worker.process.join()
    if METRICS_VARIABLE in os.environ:
        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call] # the library has no types
