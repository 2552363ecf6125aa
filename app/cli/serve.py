"""`moa serve`: check everything, then listen."""

from __future__ import annotations

import os
import signal
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import anyio
import typer

from app.cli.banner import Start, show
from app.cli.counted import KeyCount, count_keys
from app.cli.opening import choose, compiled, embedded, load
from app.cli.server import environment_for_workers, listening, loop_name, run
from app.cli.terminal import EXIT_FAILED, complain, endings, stderr, stdout
from app.config import Settings, load_settings, unknown_settings
from app.errors import ConfigError
from app.telemetry.logs import set_up_logging


def serve(
    *,
    config: Annotated[Path | None, typer.Option("--config", help="Configuration file.")] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", help="TCP port; 0 lets the system choose.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Processes that share the port.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond this machine although no key is set.")
    ] = False,
) -> None:
    """Serve the configured graphs over OpenAI's API.

    Settings come from MOA_* variables; a flag wins over its variable.
    """
    signal.signal(signal.SIGTERM, _stop_before_serving)
    flags = {"config": config, "host": host, "port": port, "workers": workers}
    given: dict[str, object] = {name: flag for name, flag in flags.items() if flag is not None}
    if insecure:
        given["insecure"] = True
    with endings():
        start = _prepare(given)
        started = _serve(start)
    if not started:
        complain("the server did not start; the log says why")
        raise typer.Exit(EXIT_FAILED)


def _prepare(flags: dict[str, object]) -> Start:
    """Everything that can be refused, before a socket is opened or a process started."""
    settings = load_settings(os.environ, **flags)
    set_up_logging(settings.log_level, settings.log_format)
    keys = anyio.run(count_keys, settings)
    _refuse_open_beyond_loopback(settings, keys)
    flag = settings.config if "config" in flags else None
    chosen = choose(flag, settings.config)
    loaded = load(chosen.path)
    return Start(
        settings.model_copy(update={"config": chosen.path}),
        chosen,
        loaded,
        anyio.run(compiled, loaded),
        loop_name(),
        _warnings(settings, keys),
        keys,
    )


def _serve(start: Start) -> bool:
    settings = start.settings
    with listening(settings.host, settings.port) as listener:
        port: int = listener.getsockname()[1]
        if names := embedded(start.loaded.config):
            stderr().print(f"starting the embedded model ({', '.join(names)}) …", style="dim")
        with environment_for_workers(settings, start.loaded.config):
            try:
                return run(settings, start.loop, listener, lambda: show(start, port, stdout()))
            except KeyboardInterrupt:
                return True


def _warnings(settings: Settings, keys: KeyCount) -> tuple[str, ...]:
    found = unknown_settings(os.environ)
    if keys.ever and settings.workers > 1 and settings.redis_url is None:
        each = "each worker counts rate limits for itself: set REDIS_URL, which they share"
        found = (*found, each)
    if sys.platform == "win32":
        return (*found, "uvloop is not made for Windows: serving on asyncio's own loop")
    return found


def _refuse_open_beyond_loopback(settings: Settings, keys: KeyCount) -> None:
    is_closed = settings.api_keys or settings.require_keys or keys.ever
    if is_closed or settings.insecure or is_loopback(settings.host):
        return
    raise ConfigError(
        f"no key is set, and {settings.host} can be reached from other machines: whoever finds it "
        "could spend your money.\nMake one with `moa keys create NAME`, or set MOA_API_KEYS=KEY "
        "(several: separated by commas) or MOA_REQUIRE_KEYS=true, or listen on 127.0.0.1, or give "
        "--insecure if something in front of this checks who calls."
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _stop_before_serving(*_: object) -> None:
    """SIGTERM during the start; once it serves, the server has its own handler."""
    raise SystemExit(0)
