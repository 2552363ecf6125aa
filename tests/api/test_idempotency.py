"""Keyed requests without a socket: who leaves, who stays, and what breaks."""

from __future__ import annotations

import time
from dataclasses import replace

import anyio
import orjson
import pytest

from app.serving.idempotency import Repeats
from app.store.memory import MemoryCache
from app.upstream.fake import FakeModel, Script

BODY = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
KEY = {"idempotency-key": "k"}


def with_patience(app, seconds):
    repeats = Repeats(MemoryCache(time.monotonic), patience=seconds)
    app.state.services = replace(app.state.services, repeats=repeats)


async def test_a_run_that_nobody_waits_for_is_given_up(serve, wire):
    model, request = FakeModel("m", Script(hang=True)), wire(BODY, KEY)
    async with serve({"m": model}) as app, anyio.create_task_group() as tasks:
        with_patience(app, 0.05)
        tasks.start_soon(request.run, app)
        await model.started()
        request.leave()
        await model.ended()

    assert model.calls[0].cancelled
    assert request.sent == []


async def test_without_a_key_it_is_given_up_at_once(serve, wire):
    model, request = FakeModel("m", Script(hang=True)), wire(BODY)
    async with serve({"m": model}) as app, anyio.create_task_group() as tasks:
        with_patience(app, 3600)
        tasks.start_soon(request.run, app)
        await model.started()
        request.leave()
        await model.ended()

    assert model.calls[0].cancelled


async def test_whoever_leaves_takes_nothing_from_the_others(serve, wire):
    gate = anyio.Event()
    model = FakeModel("m", Script("Hello.", gate=gate))
    first, second, third = (wire(BODY, KEY) for _ in range(3))
    async with serve({"m": model}) as app:
        with_patience(app, 0.05)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first.run, app)
            await model.started()
            tasks.start_soon(second.run, app)
            tasks.start_soon(third.run, app)
            await anyio.wait_all_tasks_blocked()
            first.leave()
            second.leave()
            await anyio.sleep(0.2)
            gate.set()

    assert (first.status, second.status, third.status) == (200, None, 200)
    assert orjson.loads(third.text)["choices"][0]["message"]["content"] == "Hello."
    assert len(model.calls) == 1


async def test_a_bug_is_told_to_all_who_wait(serve, wire):
    gate = anyio.Event()
    model = FakeModel("m", Script(gate=gate, error=ZeroDivisionError("bug")))
    first, second = wire(BODY, KEY), wire(BODY, KEY)
    async with serve({"m": model}) as app, anyio.create_task_group() as tasks:
        tasks.start_soon(first.run, app)
        await model.started()
        tasks.start_soon(second.run, app)
        await anyio.wait_all_tasks_blocked()
        gate.set()

    assert (first.status, second.status) == (500, 500)
    assert "x-request-id" in second.response_headers
    assert len(model.calls) == 1


async def test_who_waited_for_a_run_that_was_cut_off_asks_anew(serve, wire):
    model = FakeModel("m", [Script(hang=True), Script("Hello.")])
    first, second = wire(BODY, KEY), wire(BODY, KEY)
    async with (
        serve({"m": model}) as app,
        anyio.create_task_group() as tasks,
        anyio.create_task_group() as cut_off,
    ):
        cut_off.start_soon(first.run, app)
        await model.started()
        tasks.start_soon(second.run, app)
        await anyio.wait_all_tasks_blocked()
        cut_off.cancel_scope.cancel()

    assert second.status == 200
    assert len(model.calls) == 2


async def test_a_stream_is_known_however_its_name_is_written(serve, wire):
    body = BODY[:-1] + b',"\\u0073tream":true}'
    model, first, second = FakeModel("m"), wire(body, KEY), wire(body, KEY)
    async with serve({"m": model}) as app:
        await first.run(app)
        await second.run(app)

    assert (first.status, second.status) == (200, 200)
    assert len(model.calls) == 2


@pytest.mark.parametrize("body", [b"", b"{", b'["stream"]', b'{"stream": true'])
async def test_a_body_that_is_none_is_refused_as_ever(serve, wire, body):
    request = wire(body, KEY)
    async with serve({"m": FakeModel("m")}) as app:
        await request.run(app)

    assert request.status == 400


async def test_a_client_that_leaves_before_its_body_asks_nothing(serve, wire):
    model, request = FakeModel("m"), wire(None, KEY)
    request.leave()
    async with serve({"m": model}) as app:
        await request.run(app)

    assert (request.sent, model.calls) == ([], [])
