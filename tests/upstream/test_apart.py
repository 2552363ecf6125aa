"""Work in a task of its own: finished in peace, whoever cancels its caller and however often."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from app.upstream.apart import apart


class Work:
    """Takes a while, and tells whether it came to its end or was cancelled."""

    def __init__(self, turns: int = 20) -> None:
        self.turns = turns
        self.ended = self.cancelled = False
        self.undone: list[str] = []

    async def do(self) -> str:
        try:
            for _ in range(self.turns):
                await asyncio.sleep(0)
            self.ended = True
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):  # what a native cancellation would break through
                for _ in range(self.turns):
                    await asyncio.sleep(0)
            self.cancelled = True
            raise
        return "done"

    async def undo(self, result: str) -> None:
        await asyncio.sleep(0)
        self.undone.append(result)


async def test_what_it_returns_is_returned() -> None:
    assert await apart(Work().do) == "done"


async def test_what_it_raises_is_raised_as_it_is() -> None:
    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        await apart(fail)


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("after", [1, 5, 10])
async def test_cancelled_by_asyncio_it_cleans_up_in_peace(after: int, times: int) -> None:
    work = Work()
    task = asyncio.ensure_future(apart(work.do))
    for _ in range(after):
        await asyncio.sleep(0)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.cancelled


@pytest.mark.parametrize("after", [1, 5, 10])
async def test_shielded_it_comes_to_its_end(after: int) -> None:
    work = Work()
    task = asyncio.ensure_future(apart(work.do, shield=True))
    for _ in range(after):
        await asyncio.sleep(0)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.ended


async def test_an_anyio_deadline_cancels_it() -> None:
    with anyio.move_on_after(0.01) as scope:
        await apart(anyio.sleep_forever)
    assert scope.cancelled_caught


async def test_a_result_nobody_gets_is_undone() -> None:
    """Wherever in the work's last moments its caller is cancelled, its result is got or undone."""
    for after in range(40):
        work = Work()
        task = asyncio.ensure_future(apart(work.do, work.undo))
        for _ in range(after):
            await asyncio.sleep(0)
        task.cancel()
        try:
            got = await task == "done"
        except asyncio.CancelledError:
            got = False
        assert work.cancelled or got or work.undone == ["done"] or not work.ended
