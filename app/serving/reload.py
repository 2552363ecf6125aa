"""A configuration taken up while requests run: read, compiled beside the old one, swapped.

Whatever is wrong with the new one leaves the old one serving and one line in the log.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from logging import getLogger
from types import MappingProxyType

import anyio
from anyio import to_thread

from app.config import LoadedConfig, load_config
from app.config.files import Seen, Stamps, looks
from app.errors import ConfigError
from app.serving.runtime import Runtime

WATCH_EVERY = 2.0
"""Seconds between two looks at the files."""
SETTLED = 0.5
"""Seconds for which changed files must stay as they are: half a file may be a correct one."""
PATIENCE = 60.0
"""Seconds after which a disk that does not answer is given up on until the next time."""

Build = Callable[[LoadedConfig], Awaitable[Runtime]]

_log = getLogger("moa.reload")


class CurrentRuntime:
    """The runtime that new requests get; running ones keep theirs."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __call__(self) -> Runtime:
        """The current one."""
        return self._runtime

    def swap(self, new: Runtime) -> None:
        """From now on this one; a name that stays keeps the time at which it was created."""
        old = self._runtime.served
        served = {
            name: replace(each, created=old[name].created) if name in old else each
            for name, each in new.served.items()
        }
        self._runtime = replace(new, served=MappingProxyType(served))


class Reloader:
    """Takes up what the files of a configuration say now; one reload at a time.

    `build` compiles it and may refuse it with a ConfigError; `count` learns how each reload
    ended: "ok", "unchanged" or "refused".
    """

    def __init__(
        self,
        loaded: LoadedConfig,
        environ: Mapping[str, str],
        current: CurrentRuntime,
        build: Build,
        count: Callable[[str], None],
    ) -> None:
        self._loaded, self._environ = loaded, environ
        self._current, self._build, self._count = current, build, count
        self._one_at_a_time = anyio.Lock()
        self.files: Stamps = loaded.files

    async def reload(self, reason: str) -> None:
        """Read, build and swap; logs what came of it and never raises but to be cancelled."""
        async with self._one_at_a_time:
            try:
                outcome = await self._take_up()
            except ConfigError as error:
                outcome = "refused"
                _log.error("reload (%s) refused, all is as before: %s", reason, error)
            except TimeoutError:
                outcome = "refused"
                _log.error("reload (%s) refused, all is as before: reading took too long", reason)
            except Exception:  # noqa: BLE001 - a bug here must not end the server
                outcome = "refused"
                _log.exception("reload (%s) refused, all is as before: a bug", reason)
            else:
                _log.info("reload (%s): %s", reason, outcome, extra={"fields": self._served()})
            self._count(outcome)

    async def _take_up(self) -> str:
        seen = Seen()
        read = partial(load_config, self._loaded.file, self._environ, seen)
        try:
            with anyio.fail_after(PATIENCE):
                loaded = await to_thread.run_sync(read, abandon_on_cancel=True)
        finally:
            self.files = seen.stamps
        if loaded.config == self._loaded.config:
            return "unchanged"
        self._current.swap(await self._build(loaded))
        self._loaded = loaded
        return "ok"

    def _served(self) -> dict[str, object]:
        return {"served": len(self._current().served)}


async def watch(
    reloader: Reloader, *, every: float = WATCH_EVERY, settled: float = SETTLED
) -> None:
    """Reload whenever the files have changed and then stayed as they are; until cancelled."""
    while True:
        await anyio.sleep(every)
        before = await _looks(reloader.files)
        if before is None or before == reloader.files:
            continue
        await anyio.sleep(settled)
        if await _looks(reloader.files) == before:
            await reloader.reload("files have changed")


async def reload_on_hangup(reloader: Reloader) -> None:
    """Reload at every SIGHUP, until cancelled; only in a main thread.

    Who starts such a process may block the signal until then, so that none is lost or ends it.
    """
    if sys.platform == "win32":
        return
    with anyio.open_signal_receiver(signal.SIGHUP) as hangups:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        async for _ in hangups:
            await reloader.reload("SIGHUP")


async def _looks(files: Stamps) -> Stamps | None:
    """How the files look now; None if the disk does not answer in time."""
    with anyio.move_on_after(PATIENCE):
        return await to_thread.run_sync(looks, files, abandon_on_cancel=True)
    return None
