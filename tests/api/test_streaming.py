"""Late commit, heartbeats, errors in mid-stream, leaving clients, slow clients."""

import asyncio
from dataclasses import replace

import anyio
import orjson
import pytest

from app.api.streaming import Timing
from app.errors import UpstreamTimeout
from app.upstream.fake import FakeModel, Script

SOON, NEVER = 0.02, 1_000.0


def body(**fields):
    messages = [{"role": "user", "content": "Hi"}]
    return orjson.dumps({"model": "m", "messages": messages, "stream": True, **fields})


async def test_a_stream_has_the_headers_that_keep_it_one(serve, wire):
    request = wire(body())
    async with serve({"m": FakeModel("m")}) as app:
        await request.run(app)

    headers = request.response_headers
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-moa-run-id"]
    assert headers["x-request-id"]
    assert request.events[-1] == "[DONE]"
    assert request.ended


async def test_events_that_came_together_leave_together_and_others_at_once(serve, wire):
    gate = anyio.Event()
    request = wire(body())
    model = FakeModel("m", Script("one two three", after=2, gate=gate))
    async with (
        serve({"m": model}, commit_after=NEVER) as app,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(request.run, app)
        await request.until(lambda it: "two" in it.text)
        assert "three" not in request.text
        gate.set()

    assert request.text.count("data: ") == 5
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in request.events[:-1]) == (
        "one two three"
    )


async def test_headers_wait_for_the_first_token(serve, wire):
    gate = anyio.Event()
    request = wire(body())
    model = FakeModel("m", Script("one", gate=gate))
    async with (
        serve({"m": model}, commit_after=NEVER) as app,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(request.run, app)
        await model.started()
        await anyio.wait_all_tasks_blocked()
        assert request.sent == []
        gate.set()

    assert request.status == 200


async def test_headers_do_not_wait_longer_than_commit_after(serve, wire):
    gate = anyio.Event()
    request = wire(body())
    model = FakeModel("m", Script("one", gate=gate))
    async with (
        serve({"m": model}, commit_after=SOON) as app,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(request.run, app)
        await request.until(lambda it: it.status == 200)
        assert request.events == []
        gate.set()

    assert request.events[-1] == "[DONE]"


@pytest.mark.parametrize(
    ("style", "beat"), [("comment", ": still working\n\n"), ("delta", '"delta":{"content":""}')]
)
async def test_a_silent_stream_gives_signs_of_life(serve, wire, style, beat):
    gate = anyio.Event()
    request = wire(body())
    model = FakeModel("m", Script("one two", after=1, gate=gate))
    settings = {"commit_after": NEVER, "heartbeat": SOON, "heartbeat_style": style}
    async with (
        serve({"m": model}, **settings) as app,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(request.run, app)
        await request.until(lambda it: "one" in it.text)
        await request.until(lambda it: it.text.count(beat) >= 3)
        gate.set()

    assert "".join(e["choices"][0]["delta"].get("content", "") for e in request.events[:-1]) == (
        "one two"
    )


async def test_heartbeats_begin_only_after_the_commit(serve, wire):
    gate = anyio.Event()
    request = wire(body())
    model = FakeModel("m", Script("one", gate=gate))
    settings = {"commit_after": 5 * SOON, "heartbeat": SOON}
    async with (
        serve({"m": model}, **settings) as app,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(request.run, app)
        await request.until(lambda it: len(it.sent) >= 4)
        gate.set()

    assert request.sent[0]["status"] == 200
    assert request.sent[1]["body"] == b""
    assert request.sent[2]["body"].startswith(b":")


async def test_heartbeats_can_be_off(serve, wire):
    request = wire(body())
    model = FakeModel("m", Script("one", first_token_delay=6 * SOON))
    settings = {"commit_after": SOON, "heartbeat": SOON, "heartbeat_style": "off"}
    async with serve({"m": model}, **settings) as app:
        await request.run(app)

    assert request.text.startswith("data: ")
    assert all(part.startswith("data: ") for part in request.text[:-2].split("\n\n"))


async def test_a_failure_after_the_commit_is_one_event_and_the_end(serve, wire):
    request = wire(body())
    script = Script("one two", after=1, error=UpstreamTimeout("too slow", detail="sk-1"))
    async with serve({"m": FakeModel("m", script)}) as app:
        await request.run(app)

    assert request.status == 200
    assert request.events[-1] == {
        "error": {
            "message": "too slow",
            "type": "upstream_error",
            "param": None,
            "code": "upstream_timeout",
        }
    }
    assert "[DONE]" not in request.text
    assert '"finish_reason":"stop"' not in request.text
    assert request.ended


async def test_a_failure_after_a_commit_without_a_token_is_an_event_too(serve, wire):
    gate = anyio.Event()
    request = wire(body())
    model = FakeModel("m", Script("one", gate=gate, error=UpstreamTimeout("too slow")))
    async with (
        serve({"m": model}, commit_after=SOON) as app,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(request.run, app)
        await request.until(lambda it: it.status == 200)
        gate.set()

    (event,) = request.events
    assert event["error"]["code"] == "upstream_timeout"
    assert request.ended


async def test_a_bug_after_the_commit_says_nothing_and_is_logged(serve, wire, caplog):
    request = wire(body())
    script = Script("one two", after=1, error=ValueError("secret text"))
    async with serve({"m": FakeModel("m", script)}) as app:
        await request.run(app)

    assert request.events[-1]["error"]["code"] == "internal_error"
    assert "secret text" not in request.text
    assert len([each for each in caplog.records if each.exc_info]) == 1


async def test_a_role_alone_is_no_first_token(serve, wire):
    request = wire(body())
    script = Script(("", "one"), after=1, error=UpstreamTimeout("too slow"))
    async with serve({"m": FakeModel("m", script)}) as app:
        await request.run(app)

    assert request.status == 504


async def test_a_held_back_role_is_sent_with_the_first_token(serve, wire):
    request = wire(body())
    async with serve({"m": FakeModel("m", Script(("", "one")))}) as app:
        await request.run(app)

    assert [e["choices"][0]["delta"] for e in request.events[:2]] == [
        {"role": "assistant", "content": ""},
        {"content": "one"},
    ]


@pytest.mark.parametrize("phase", ["before commit", "after commit", "in mid-stream", "unstreamed"])
async def test_a_client_that_leaves_cancels_the_run_at_once(serve, wire, phase):
    request = wire(body(stream=phase != "unstreamed"))
    after = 1 if phase == "in mid-stream" else 0
    model = FakeModel("m", Script("one two", after=after, hang=True))
    commit_after = SOON if phase == "after commit" else NEVER
    started = serve({"m": model}, commit_after=commit_after)
    async with started as app, anyio.create_task_group() as tasks:
        tasks.start_soon(request.run, app)
        await model.started()
        if phase in ("after commit", "in mid-stream"):
            await request.until(lambda it: it.status == 200)
        await anyio.wait_all_tasks_blocked()
        sent = len(request.sent)
        request.leave()
        await model.ended()

    assert model.calls[0].cancelled
    assert len(request.sent) == sent


async def test_a_client_that_leaves_before_its_body_came_starts_nothing(serve, wire):
    request = wire(None)
    model = FakeModel("m")
    request.leave()
    async with serve({"m": model}) as app:
        await request.run(app)

    assert request.sent == []
    assert model.calls == []


async def test_a_slow_client_slows_the_model(serve, wire):
    request = wire(body(), blocked=True)
    model = FakeModel("m", Script("one two three"))
    async with (
        serve({"m": model}, commit_after=NEVER) as app,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(request.run, app)
        await model.started()
        await anyio.wait_all_tasks_blocked()
        assert model.calls[0].sent == 0
        request.unblock()

    assert request.ended
    assert model.calls[0].sent == 4


async def test_a_client_that_never_takes_the_end_is_given_up(serve, wire):
    gate = anyio.Event()
    request = wire(body())
    model = FakeModel("m", Script("one", after=1, gate=gate))
    async with serve({"m": model}) as app:
        app.state.services = replace(app.state.services, timing=Timing(last_write=SOON))
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(request.run, app)
                await request.until(lambda it: "one" in it.text)
                request.blocked = True
                gate.set()

    assert not request.ended


async def test_a_slow_client_is_not_sent_heartbeats_on_top(serve, wire):
    request = wire(body(), blocked=True)
    model = FakeModel("m", Script("one"))
    settings = {"commit_after": SOON, "heartbeat": SOON}
    async with (
        serve({"m": model}, **settings) as app,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(request.run, app)
        await model.started()
        with anyio.move_on_after(5 * SOON):
            await anyio.sleep_forever()
        request.unblock()

    assert ":" not in [line[:1] for line in request.text.splitlines()]


async def test_streamed_and_whole_answers_are_the_same(serve, wire):
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    script = Script("one two", reasoning="hm", tool_calls=(call,))
    streamed, whole = wire(body(stream_options={"include_usage": True})), wire(body(stream=False))
    async with serve({"m": FakeModel("m", script)}) as app:
        await streamed.run(app)
        await whole.run(app)

    message = orjson.loads(whole.text)["choices"][0]["message"]
    deltas = [e["choices"][0]["delta"] for e in streamed.events[:-1] if e["choices"]]
    assert "".join(delta.get("content", "") for delta in deltas) == message["content"]
    assert (
        "".join(delta.get("reasoning_content", "") for delta in deltas)
        == (message["reasoning_content"])
    )
    assert streamed.events[-2]["usage"] == orjson.loads(whole.text)["usage"]


async def test_a_whole_answer_tells_run_and_cost_in_its_headers(serve, wire):
    request = wire(body(stream=False, moa={"include": ["run"]}))
    async with serve({"m": FakeModel("m")}) as app:
        await request.run(app)

    answer = orjson.loads(request.text)
    assert answer["moa"]["run_id"] == request.response_headers["x-moa-run-id"]
    assert answer["id"].endswith(answer["moa"]["run_id"])
    assert answer["model"] == "m"


async def test_an_alias_is_answered_under_its_own_name(serve, wire):
    request = wire(body(model="alias"))
    async with serve({"m": FakeModel("m")}) as app:
        await request.run(app)

    assert {event["model"] for event in request.events[:-1]} == {"alias"}


async def cut_off(app, request, *, when):
    """Run until `when`, then do what the server does when the time to drain is over."""
    running = asyncio.create_task(request.run(app))
    await request.until(when)
    running.cancel()
    with anyio.fail_after(5), pytest.raises(asyncio.CancelledError):
        await running


async def test_a_stream_that_a_shutdown_cuts_off_ends_with_an_error_event(serve, wire, caplog):
    request = wire(body())
    model = FakeModel("m", Script("one two", after=1, hang=True))
    async with serve({"m": model}) as app:
        await cut_off(app, request, when=lambda it: "one" in it.text)

    assert request.events[-1]["error"]["code"] == "overloaded"
    assert "[DONE]" not in request.text
    assert request.ended
    assert model.calls[0].cancelled
    (line,) = [each for each in caplog.records if each.name == "moa.error"]
    assert line.exc_info is None


async def test_a_shutdown_does_not_wait_for_a_client_that_takes_nothing(serve, wire):
    request = wire(body())
    model = FakeModel("m", Script("one two", after=1, hang=True))
    async with serve({"m": model}) as app:
        app.state.services = replace(app.state.services, timing=Timing(farewell=SOON))

        def blocking(it):
            it.blocked = "one" in it.text
            return it.blocked

        await cut_off(app, request, when=blocking)

    assert not request.ended


async def test_a_stream_that_is_over_is_not_ended_twice_by_a_shutdown(serve, wire):
    request = wire(body())
    async with serve({"m": FakeModel("m")}) as app:
        await cut_off(app, request, when=lambda it: it.ended)

    assert request.events[-1] == "[DONE]"
