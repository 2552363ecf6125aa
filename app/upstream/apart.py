"""Work in a task of its own, for libraries that rely on anyio's shields.

A shield holds off anyio's cancelling, and not asyncio's own (`Task.cancel`), by which a layer ends
its late nodes. Nobody but anyio cancels the task that is made here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import anyio

T = TypeVar("T")


async def apart(
    work: Callable[[], Awaitable[T]],
    undo: Callable[[T], Awaitable[object]] | None = None,
    *,
    shield: bool = False,
) -> T:
    """Do it, and return or raise what it does; whoever is cancelled meanwhile waits for its end.

    It is cancelled with its caller, by anyio, unless `shield` is set. `undo` is done to a result
    that came just when the caller was cancelled.
    """
    results: list[T] = []
    failures: list[Exception] = []

    async def run() -> None:
        with anyio.CancelScope(shield=shield):
            try:
                results.append(await work())
            except Exception as failure:  # noqa: BLE001 - raised again below, outside the group
                failures.append(failure)

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
    except BaseException:
        if results and undo is not None:
            await apart(partial(undo, results[0]), shield=True)
        raise
    if failures:
        raise failures[0]
    return results[0]
