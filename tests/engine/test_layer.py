from __future__ import annotations

from collections.abc import Callable, Coroutine

import anyio
import anyio.lowlevel
import pytest

from app.engine.graph import Layer, Node
from app.engine.layer import Seat, race, seats
from app.engine.nodes.propose import Propose

FOREVER = 3600.0


def node(name: str, *, samples: int = 1, required: bool = False) -> Node:
    return Node(name, "propose", Propose(), (), (), {}, samples=samples, required=required)


def layer(*nodes: Node, quorum: int, grace: float = 0.0, deadline: float = FOREVER) -> Layer:
    return Layer(nodes, quorum, grace, deadline)


async def hold(
    places: Layer, attempt: Callable[[Seat], Coroutine[None, None, str]]
) -> tuple[str | None, ...]:
    raced = await race(places, seats(places), attempt, is_good=lambda said: said != "bad")
    return raced.results


async def test_all_nodes_of_a_layer_start_together() -> None:
    started: set[str] = set()
    everybody = anyio.Event()

    async def attempt(seat: Seat) -> str:
        started.add(seat.label)
        if len(started) == 3:
            everybody.set()
        await everybody.wait()
        return seat.label

    with anyio.fail_after(5):
        assert await hold(layer(node("a"), node("b", samples=2), quorum=3), attempt) == (
            "a",
            "b#1",
            "b#2",
        )


async def test_results_stand_in_node_order_whoever_arrives_first() -> None:
    b_is_done = anyio.Event()

    async def attempt(seat: Seat) -> str:
        if seat.label == "a":
            await b_is_done.wait()
        else:
            b_is_done.set()
        return seat.label

    assert await hold(layer(node("a"), node("b"), quorum=2), attempt) == ("a", "b")


async def test_without_grace_the_quorum_ends_the_layer_and_cancels_the_rest() -> None:
    cancelled: list[str] = []

    async def attempt(seat: Seat) -> str:
        if seat.label == "slow":
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.append(seat.label)
        return seat.label

    places = layer(node("a"), node("slow"), node("b"), quorum=2)
    assert await hold(places, attempt) == ("a", None, "b")
    assert cancelled == ["slow"]


async def test_within_the_grace_a_late_answer_still_counts() -> None:
    quorum_is_in = anyio.Event()

    async def attempt(seat: Seat) -> str:
        if seat.label == "late":
            await quorum_is_in.wait()
            await anyio.lowlevel.checkpoint()
        else:
            quorum_is_in.set()
        return seat.label

    places = layer(node("late"), node("a"), quorum=1, grace=FOREVER)
    assert await hold(places, attempt) == ("late", "a")


async def test_the_deadline_ends_a_layer_that_has_no_quorum() -> None:
    async def attempt(seat: Seat) -> str:
        if seat.label == "hangs":
            await anyio.sleep_forever()
        return seat.label

    places = layer(node("a"), node("hangs"), quorum=2, deadline=0.02)
    assert await hold(places, attempt) == ("a", None)


async def test_bad_answers_do_not_make_a_quorum() -> None:
    good_may_come = anyio.Event()

    async def attempt(seat: Seat) -> str:
        if seat.label == "good":
            await good_may_come.wait()
            return "good"
        good_may_come.set()
        return "bad"

    assert await hold(layer(node("good"), node("b"), quorum=1), attempt) == ("good", "bad")


@pytest.mark.parametrize("answer", ["fine", "bad"])
async def test_a_required_node_is_waited_for_beyond_the_quorum(answer: str) -> None:
    others_are_in = anyio.Event()

    async def attempt(seat: Seat) -> str:
        if seat.label == "must":
            await others_are_in.wait()
            return answer
        others_are_in.set()
        return seat.label

    places = layer(node("must", required=True), node("a"), quorum=1)
    assert await hold(places, attempt) == (answer, "a")


async def test_a_required_node_is_not_waited_for_beyond_the_deadline() -> None:
    async def attempt(seat: Seat) -> str:
        if seat.label == "must":
            await anyio.sleep_forever()
        return seat.label

    places = layer(node("must", required=True), node("a"), quorum=1, deadline=0.02)
    assert await hold(places, attempt) == (None, "a")


async def test_cancelling_the_request_cancels_every_seat() -> None:
    ended: list[str] = []
    begun = anyio.Event()

    async def attempt(seat: Seat) -> str:
        try:
            if seat.label == "b":
                begun.set()
            await anyio.sleep_forever()
        finally:
            ended.append(seat.label)
        return seat.label

    async with anyio.create_task_group() as group:
        group.start_soon(hold, layer(node("a"), node("b"), quorum=2), attempt)
        await begun.wait()
        group.cancel_scope.cancel()
    assert sorted(ended) == ["a", "b"]
