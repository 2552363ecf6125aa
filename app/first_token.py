"""When an answer has begun: until then another model may be asked, after it never."""

from __future__ import annotations

from app.interfaces import Emit
from app.protocol.chat import Batch, Chunk, says_something


class FirstToken:
    """An `Emit` that knows whether a token has passed, and holds back what comes before it.

    Many servers send the role at once and fail afterwards: until something is said, another model
    may still be asked.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._held: list[Chunk] = []
        self.seen = False

    async def __call__(self, batch: Batch) -> None:
        """Hand the batch on, or keep it while nothing has been said."""
        if self.seen:
            await self._emit(batch)
        elif says_something(batch):
            self.seen = True
            await self.release(batch)
        else:
            self._held.extend(batch)

    async def release(self, batch: Batch = ()) -> None:
        """Hand on what was held back, with a batch behind it."""
        held, self._held = self._held, []
        if held or batch:
            await self._emit([*held, *batch] if held else batch)
