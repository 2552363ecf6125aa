"""Lua scripts on a Redis: all that wait to be run are sent together, on one connection.

A crowd of requests then costs one trip at a time instead of one each; what a script does is up to
those who wrote it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from importlib.resources import files
from typing import Self, TypeAlias

import anyio
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from app.errors import StoreUnavailable
from app.store.redis_server import RedisServer, unavailable

TOGETHER = 128
"""Runs sent at once at most; Redis serves nobody else meanwhile."""

Answer: TypeAlias = list[int | bytes]
"""What a script returns: a table of numbers and texts."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, which Redis knows by the SHA-1 of its text once it was loaded."""

    text: str
    sha: str

    @classmethod
    def read(cls, *names: str) -> Self:
        """The script in these files of `app/store/lua`, one after the other."""
        folder = files("app.store") / "lua"
        text = "\n".join((folder / f"{name}.lua").read_text("utf-8") for name in names)
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


@dataclass(slots=True, eq=False)
class _Run:
    script: Script
    keys: Sequence[str]
    args: Sequence[str | int]
    ended: anyio.Event = field(default_factory=anyio.Event)
    answer: Answer | None = None
    error: Exception | None = None

    def end(self, answer: Answer | Exception) -> None:
        if isinstance(answer, Exception):
            self.error = answer
        else:
            self.answer = answer
        self.ended.set()


class Scripts:
    """Runs scripts on one server. `serve` has to run beside it, else every run fails in time.

    All mutable state: the runs that wait to be sent.
    """

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._waiting: list[_Run] = []
        self._wanted = anyio.Event()

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str | int]) -> Answer:
        """What the script returns; raises StoreUnavailable.

        Not cancelled half way, which takes a second at most: it would be unknown what was done.
        """
        if not self._server.is_alive:
            raise unavailable("held to be dead")
        run = _Run(script, keys, args)
        self._waiting.append(run)
        self._wanted.set()
        with anyio.move_on_after(2 * self._server.patience, shield=True):
            await run.ended.wait()
        if run.answer is not None:
            return run.answer
        if run in self._waiting:
            self._waiting.remove(run)
        raise unavailable(repr(run.error)) from run.error

    async def serve(self) -> None:
        """For ever: send what waits, one group after the other."""
        while True:
            await self._wanted.wait()
            group, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
            if not self._waiting:
                self._wanted = anyio.Event()
            await self._send(group)

    async def _send(self, group: list[_Run]) -> None:
        try:
            unknown = await self._try(group)
            if unknown:
                await self._server.ask(lambda client: _load_all(client, unknown))
                await self._try(unknown)
        except StoreUnavailable as error:
            for run in group:
                if not run.ended.is_set():
                    run.end(error)

    async def _try(self, group: list[_Run]) -> list[_Run]:
        """Run them; returns those whose script the server, perhaps restarted, does not know."""
        answers = await self._server.ask(lambda client: _run_all(client, group))
        unknown = []
        for run, answer in zip(group, answers, strict=True):
            if isinstance(answer, NoScriptError) and run.error is None:
                run.error = answer
                unknown.append(run)
            else:
                run.end(answer)
        return unknown


async def _run_all(client: Redis, group: list[_Run]) -> list[Answer | Exception]:
    async with client.pipeline(transaction=False) as pipeline:
        for run in group:
            pipeline.evalsha(run.script.sha, len(run.keys), *run.keys, *run.args)
        answers: list[Answer | Exception] = await pipeline.execute(raise_on_error=False)
        return answers


async def _load_all(client: Redis, group: list[_Run]) -> None:
    for text in {run.script.text for run in group}:
        await client.script_load(text)
