"""A limit on the calls one deployment gets at once, and the queue before it.

First come, first served. The queue is bounded in length and patience: whoever cannot be served
learns it early enough to ask elsewhere.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from types import TracebackType

import anyio

from app.errors import UpstreamBusy
from app.interfaces import Abilities, ChatModel, Emit
from app.protocol.chat import ChatRequest
from app.record import Step
from app.upstream.spec_guards import ConcurrencySpec

RETRY_AFTER = 1.0
"""Seconds."""


class Slots:
    """The places for calls of one deployment: `spec.limit` at once, `spec.queue` waiting for one.

    A place that becomes free goes from hand to hand to the first who waits, so a place is free only
    while nobody waits.
    """

    def __init__(self, spec: ConcurrencySpec) -> None:
        self._limit = spec.limit
        self._places = spec.queue
        self._patience = spec.patience
        self._taken = 0
        self._queue: OrderedDict[anyio.Event, None] = OrderedDict()

    @property
    def in_use(self) -> int:
        """How many calls are under way."""
        return self._taken

    @property
    def waiting(self) -> int:
        """How many calls wait for a place."""
        return len(self._queue)

    @property
    def is_full(self) -> bool:
        """Whether a call would be refused at once."""
        return self._taken >= self._limit and len(self._queue) >= self._places

    def taken(self, upstream: str, time_left: float) -> Place:
        """A context for one call. Entering it waits for a place, `time_left` seconds at most.

        Raises UpstreamBusy where the queue is full, or the wait took too long.
        """
        return Place(self, upstream, time_left)

    async def take(self, upstream: str, time_left: float) -> None:
        """Take a place; it is to be given back, unless this raises."""
        if self._taken < self._limit:
            self._taken += 1
            return
        patience = min(self._patience, time_left)
        if len(self._queue) >= self._places or patience <= 0:
            raise _busy(upstream)
        await self._wait(upstream, patience)

    def give_back(self) -> None:
        """The call is over: its place goes to the first who waits."""
        if self._queue:
            first, _ = self._queue.popitem(last=False)
            first.set()
        else:
            self._taken -= 1

    async def _wait(self, upstream: str, patience: float) -> None:
        turn = anyio.Event()
        self._queue[turn] = None
        try:
            with anyio.move_on_after(patience):
                await turn.wait()
        except BaseException:
            if turn.is_set():
                self.give_back()
            raise
        finally:
            self._queue.pop(turn, None)
        # Our turn may have come in the moment the wait was over.
        if not turn.is_set():
            raise _busy(upstream)


class Place:
    """One call's place among the `Slots`, for as long as its context lasts."""

    __slots__ = ("_slots", "_time_left", "_upstream")

    def __init__(self, slots: Slots, upstream: str, time_left: float) -> None:
        self._slots = slots
        self._upstream = upstream
        self._time_left = time_left

    async def __aenter__(self) -> None:
        await self._slots.take(self._upstream, self._time_left)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._slots.give_back()


def _busy(upstream: str) -> UpstreamBusy:
    return UpstreamBusy(
        f"Upstream '{upstream}' is busy with as many calls as it may get at once.",
        retry_after=RETRY_AFTER,
    )


@dataclass(frozen=True, slots=True)
class Limited:
    """A model that gets no more calls at once than there are slots."""

    inner: ChatModel
    slots: Slots
    upstream: str

    @property
    def name(self) -> str:
        """The name of what it wraps."""
        return self.inner.name

    @property
    def abilities(self) -> Abilities:
        """What it can take."""
        return self.inner.abilities

    async def answer(self, request: ChatRequest, step: Step, emit: Emit) -> None:
        """Answer when there is a place, as every `ChatModel` does; raises UpstreamBusy if none."""
        async with self.slots.taken(self.upstream, step.time_left()):
            await self.inner.answer(request, step, emit)
