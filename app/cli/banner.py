"""What `moa serve` says when it listens: facts as pairs, a table for people, lines for the rest."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from app.cli.counted import NO_KEYS, KeyCount
from app.cli.desk import database_shown
from app.cli.picture import WIDTH, one_line
from app.config import DefaultConfig, LoadedConfig, Settings
from app.serving.runtime import Runtime

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - shown, not bound


@dataclass(frozen=True, slots=True)
class Start:
    """All there is to say about a start."""

    settings: Settings
    chosen: DefaultConfig
    loaded: LoadedConfig
    runtime: Runtime
    loop: str
    warnings: Sequence[str] = ()
    keys: KeyCount = NO_KEYS

    @property
    def is_open(self) -> bool:
        """Whether callers need no key, as long as none is made."""
        return not (self.settings.api_keys or self.settings.require_keys or self.keys.ever)


def show(start: Start, port: int, console: Console) -> None:
    """Print it; the command to try comes last and alone, so that it can be copied whole."""
    if console.is_terminal:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for label, text in facts(start, port):
            table.add_row(label, text)
        console.print(table)
        console.print()
    else:
        for label, text in facts(start, port):
            console.print(f"{label}: {text}")
    console.print(curl_line(start, port))


def facts(start: Start, port: int) -> Iterator[tuple[str, str]]:
    """Label and text of each line."""
    workers = start.settings.workers
    by = f"{workers} workers" if workers > 1 else "1 worker"
    if start.settings.host in _WILDCARDS:
        by = f"and every other address of this machine; {by}"
    yield "address", f"{base_url(start.settings.host, port)} ({by}, {start.loop}, httptools)"
    yield "access", _access(start)
    yield "keys", _keys(start)
    yield "database", database_shown(start.settings)
    yield "config", str(start.chosen.path)
    yield "chosen", start.chosen.reason
    for sentence in start.loaded.left_out:
        yield "left out", sentence.removeprefix("Left out ")
    for sentence in start.warnings:
        yield "warning", sentence
    for name, served in start.runtime.served.items():
        if served.graph is not None:
            yield "graph", f"{name}: {one_line(served.graph, WIDTH)}"
    pools = [name for name, served in start.runtime.served.items() if served.graph is None]
    if pools:
        yield "models", ", ".join(pools)
    if aliases := start.runtime.aliases:
        yield "aliases", ", ".join(f"{alias} → {name}" for alias, name in aliases.items())


def base_url(host: str, port: int) -> str:
    """Where a client on this machine reaches it."""
    host = _WILDCARDS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def curl_line(start: Start, port: int) -> str:
    """A command that asks the first graph; keys are not shown, but named."""
    url = f"{base_url(start.settings.host, port)}/v1/chat/completions"
    key = "" if start.is_open else ' -H "authorization: Bearer $KEY"'
    model = next(iter(start.runtime.served))
    body = (
        f'{{"model": "{model}", "stream": true, '
        '"messages": [{"role": "user", "content": "Why is the sky blue?"}]}'
    )
    return f"curl -N {url}{key} -H 'content-type: application/json' -d {shlex.quote(body)}"


def _access(start: Start) -> str:
    settings = start.settings
    if settings.api_keys:
        count = len(settings.api_keys)
        return f"{count} key{'s' if count > 1 else ''} from MOA_API_KEYS"
    if not start.is_open:
        return "a key is needed"
    if settings.insecure:
        return "OPEN: no key is set and --insecure is given; whoever reaches this address may call"
    return "open mode: no key is set, so programs on this machine may call, nobody else"


def _keys(start: Start) -> str:
    count = start.keys.working
    told = f"{count or 'no'} virtual key{'' if count == 1 else 's'}"
    after = "; from then on a key is needed" if start.is_open else ""
    return f"{told}; `moa keys create NAME` makes one{after}"
