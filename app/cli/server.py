"""Runs the application under uvicorn: the socket, one process or several, the signals.

What is served is `app.main`'s; a worker finds its settings in its environment.
"""

from __future__ import annotations

import errno
import math
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from tempfile import TemporaryDirectory

import uvicorn
from anyio.from_thread import start_blocking_portal
from uvicorn.config import STARTUP_FAILURE

from app.cli.connection import Connection
from app.cli.opening import embedded
from app.cli.process import Server
from app.cli.workers import METRICS_VARIABLE, Workers, hangup_blocked
from app.config import Config, Settings
from app.config.settings import variable
from app.errors import ConfigError
from app.upstream.local import addresses_to_environment, embedded_servers

FACTORY = "app.main:create_worker"
BACKLOG = 2048
KEEP_ALIVE = 75
"""Seconds an idle client connection is kept, longer than clients and load balancers keep theirs."""
WORKER_PATIENCE = 30
"""Seconds a worker may be silent, its start included, before it is replaced."""


def loop_name() -> str:
    """The event loop to run on. Raises ConfigError where one of the fast parts is missing.

    uvloop is not made for Windows; there asyncio's own loop serves.
    """
    name = "asyncio" if sys.platform == "win32" else "uvloop"
    for needed in ("httptools", *(("uvloop",) if name == "uvloop" else ())):
        if find_spec(needed) is None:
            raise ConfigError(f"the package {needed} is not installed: run `make install` again")
    return name


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket, not yet accepting; port 0 lets the system choose.

    Raises ConfigError saying what to do where the address cannot be had.
    """
    with socket.socket(_family(host, port), socket.SOCK_STREAM) as listener:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise _refusal(host, port, error) from None
        listener.set_inheritable(True)
        yield listener


@contextmanager
def environment_for_workers(settings: Settings, config: Config) -> Iterator[None]:
    """Everything the application looks for in its environment, in this process and its children.

    Embedded servers are started here, once for all workers; raises ConfigError if one cannot be.
    """
    _hand_down(settings)
    with start_blocking_portal() as portal, _metrics_folder(settings.workers):
        servers = portal.wrap_async_context_manager(embedded_servers(embedded(config)))
        with servers as addresses:
            os.environ.update(addresses_to_environment(addresses))
            yield


def run(settings: Settings, loop: str, listener: socket.socket, ready: Callable[[], None]) -> bool:
    """Serve until told to stop; `ready` is called when requests are answered.

    False if the application could not start; its log says why.
    """
    config = uvicorn.Config(
        FACTORY,
        factory=True,
        loop=loop,
        http=Connection,
        ws="none",
        lifespan="on",
        workers=settings.workers,
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=math.ceil(settings.drain_timeout),
        timeout_worker_healthcheck=WORKER_PATIENCE,
    )
    if settings.workers > 1:
        return _run_workers(config, listener, ready)
    server = Server(config, ready)
    try:
        with hangup_blocked():
            server.run(sockets=[listener])
    except SystemExit as failure:
        return failure.code != STARTUP_FAILURE
    return server.started


def _run_workers(
    config: uvicorn.Config, listener: socket.socket, ready: Callable[[], None]
) -> bool:
    supervisor = Workers(config, listener, ready)
    supervisor.run()
    return supervisor.could_start


def _family(host: str, port: int) -> socket.AddressFamily:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except OSError:
        raise ConfigError(f"{host} is no address of this machine: give another --host") from None


def _refusal(host: str, port: int, error: OSError) -> ConfigError:
    match error.errno:
        case errno.EADDRINUSE:
            what = "is taken: stop what listens there, or choose another --port (0: any free one)"
        case errno.EACCES | errno.EPERM:
            what = "needs more rights: choose a --port above 1023"
        case errno.EADDRNOTAVAIL:
            return ConfigError(f"{host} is no address of this machine: give another --host")
        case _:
            what = f"cannot be listened on: {error.strerror}"
    return ConfigError(f"port {port} on {host} {what}")


def _hand_down(settings: Settings) -> None:
    """Flags become variables: a worker reads its environment and nothing else."""
    for name in ("host", "port", "config", "workers", "insecure"):
        os.environ[variable(name)] = str(getattr(settings, name))


@contextmanager
def _metrics_folder(workers: int) -> Iterator[None]:
    """Where several workers put their metrics together; the operator's own is left alone."""
    if workers == 1 or METRICS_VARIABLE in os.environ:
        yield
        return
    with TemporaryDirectory(prefix="moa-metrics-") as folder:
        os.environ[METRICS_VARIABLE] = folder
        yield
