"""A layer's clock: who is waited for, and how long. Knows nothing of models or references."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio

from app.engine.graph import Layer, Node

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seat:
    """One place in a layer: a node and which of its samples."""

    node: Node
    sample: int

    @property
    def label(self) -> str:
        """The node's name, with the sample's number where there are several."""
        return self.node.name if self.node.samples == 1 else f"{self.node.name}#{self.sample + 1}"


def seats(layer: Layer) -> tuple[Seat, ...]:
    """All places of a layer, in node order."""
    return tuple(Seat(node, sample) for node in layer.nodes for sample in range(node.samples))


@dataclass(frozen=True, slots=True)
class Raced(Generic[T]):
    """What each seat gave, in node order; None for those that were late and are cancelled."""

    results: tuple[T | None, ...]
    good: int


async def race(
    layer: Layer,
    places: Sequence[Seat],
    attempt: Callable[[Seat], Coroutine[None, None, T]],
    *,
    is_good: Callable[[T], bool],
) -> Raced[T]:
    """Start all seats together and wait as the layer says.

    It ends when all are done, or `quorum` good ones are in, no required node is missing and
    `grace` has passed, or at the deadline. Whoever is still at work then is cancelled.
    `attempt` must not raise.
    """
    results: list[T | None] = [None] * len(places)
    waited_for = {place for place, seat in enumerate(places) if seat.node.required}
    good = 0
    clock = asyncio.get_running_loop().time
    over = asyncio.timeout(layer.deadline)
    ends = min(clock() + layer.deadline, anyio.current_effective_deadline())

    async def sit(place: int, seat: Seat) -> None:
        nonlocal good
        if seat.node.watches_time:
            # A task of asyncio's inherits no deadline.
            with anyio.CancelScope(deadline=ends) as scope:
                result = results[place] = await attempt(seat)
            if scope.cancelled_caught:
                return
        else:
            result = results[place] = await attempt(seat)
        waited_for.discard(place)
        good += is_good(result)
        if good >= layer.quorum and not waited_for and not over.expired():
            over.reschedule(min(over.when() or 0.0, clock() + layer.grace))

    # asyncio's own group: anyio's costs five times as much, and it is entered for every layer.
    with suppress(TimeoutError):
        async with over, asyncio.TaskGroup() as group:
            for place, seat in enumerate(places):
                group.create_task(sit(place, seat))
    return Raced(tuple(results), good)
