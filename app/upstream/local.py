"""Embedded upstreams: llama.cpp servers that the gateway starts, keeps alive and ends.

With several workers the parent starts them once and hands their addresses down through the
environment. How they are called is not known here: they are ordinary OpenAI-compatible servers.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import orjson
from anyio.abc import TaskGroup, TaskStatus

from app.errors import ConfigError
from app.upstream import local_server
from app.upstream.local_model import INSTEAD, model_file
from app.upstream.local_process import StartFailed, running_child
from app.upstream.local_server import Order
from app.upstream.local_spec import LlamaCppSpec

ADDRESSES_VARIABLE = "_MOA_EMBEDDED_ADDRESSES"
"""Set for worker processes only, by their parent: what it has started. No setting of users."""

COMMAND = (sys.executable, "-P", str(Path(local_server.__file__)))

_log = getLogger("moa.upstream")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses before a restart, in seconds: doubled each time, reset after `steady` seconds up."""

    first: float = 0.5
    longest: float = 30.0
    steady: float = 60.0

    def after(self, pause: float, *, uptime: float) -> float:
        """The pause that follows `pause`, for a child that was up for `uptime` seconds."""
        return self.first if uptime >= self.steady else min(pause * 2, self.longest)


def addresses_to_environment(addresses: Mapping[str, str]) -> dict[str, str]:
    """The variables that hand `addresses` down to worker processes."""
    return {ADDRESSES_VARIABLE: orjson.dumps(dict(addresses)).decode()}


def addresses_from_environment(environ: Mapping[str, str]) -> dict[str, str] | None:
    """What the parent has started, by upstream name; None in a process that starts its own."""
    text = environ.get(ADDRESSES_VARIABLE)
    return None if text is None else {str(k): str(v) for k, v in orjson.loads(text).items()}


@asynccontextmanager
async def embedded_servers(
    specs: Mapping[str, LlamaCppSpec],
    *,
    environ: Mapping[str, str] = os.environ,
    command: Sequence[str] = COMMAND,
    backoff: Backoff = Backoff(),
) -> AsyncIterator[Mapping[str, str]]:
    """Upstream name -> base URL (with `/v1`) of a running server, for as long as entered.

    Every server is healthy when this yields; one that dies later is started again at the same
    address. All have ended when this returns. Raises ConfigError when one cannot start: package or
    file missing, start deadline passed, child died (with the end of its stderr).
    """
    handed_down = addresses_from_environment(environ)
    if handed_down is not None:
        yield _chosen(handed_down, specs)
        return
    servers = [_Server(name, spec, command, backoff) for name, spec in specs.items()]
    with _sole_failure():
        async with anyio.create_task_group() as group:
            yield {server.name: await group.start(server.supervise, group) for server in servers}
            group.cancel_scope.cancel()


def _chosen(addresses: Mapping[str, str], specs: Mapping[str, LlamaCppSpec]) -> dict[str, str]:
    missing = [name for name in specs if name not in addresses]
    if missing:
        raise ConfigError(
            f"the embedded upstream `{missing[0]}` is new since the start: restart the gateway"
        )
    return {name: addresses[name] for name in specs}


@contextmanager
def _sole_failure() -> Iterator[None]:
    """Raises the exception itself where a task group wrapped only one, so that it can be caught."""
    sole: BaseException | None = None
    try:
        yield
    except BaseExceptionGroup as failures:
        if len(failures.exceptions) > 1:
            raise
        sole = failures.exceptions[0]
    if sole is not None:
        raise sole


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class _Server:
    """One embedded upstream; its port and secret path stay the same over restarts."""

    def __init__(
        self, name: str, spec: LlamaCppSpec, command: Sequence[str], backoff: Backoff
    ) -> None:
        self.name = name
        self._spec = spec
        self._command = command
        self._backoff = backoff
        self._order = Order(
            model=str(model_file(spec, path=f"upstreams.{name}.llama_cpp.model")),
            alias=spec.model,
            context=spec.context,
            parallel=spec.parallel,
            threads=spec.threads or _cores(),
            port=0,
            prefix=f"/{secrets.token_urlsafe(16)}",
        )

    async def supervise(self, group: TaskGroup, *, task_status: TaskStatus[str]) -> None:
        """Run it until cancelled; only the first start may fail, later ones are tried again."""
        pause = self._backoff.first
        while True:
            started = anyio.current_time()
            try:
                ending = await self._run_once(group, task_status)
            except StartFailed as failure:
                if not self._order["port"]:
                    raise self._refusal(failure) from None
                ending = str(failure)
            uptime = anyio.current_time() - started
            _log.error(
                "embedded upstream %s ended, next start in %.1f s: %s", self.name, pause, ending
            )
            await anyio.sleep(pause)
            pause = self._backoff.after(pause, uptime=uptime)

    async def _run_once(self, group: TaskGroup, task_status: TaskStatus[str]) -> str:
        deadline = self._spec.start_deadline
        async with running_child(self._command, self._order, deadline, group) as child:
            _log.info("embedded upstream %s serves %s", self.name, self._spec.model)
            if not self._order["port"]:
                self._order["port"] = urlsplit(child.address).port or 0
                task_status.started(f"{child.address}/v1")
            return await child.wait()

    def _refusal(self, failure: StartFailed) -> ConfigError:
        return ConfigError(
            f"the llama.cpp server for `{self._spec.model}` did not start: {failure}\n{INSTEAD}",
            path=f"upstreams.{self.name}.llama_cpp",
        )
