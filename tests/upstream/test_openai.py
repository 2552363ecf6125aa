from collections.abc import Callable
from typing import Any

import anyio
import pytest

from app.errors import (
    UpstreamDenied,
    UpstreamMalformed,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from app.protocol.usage import Usage
from app.record import Outcome

ESTIMATED_PROMPT = 4 + 3  # one message of eight bytes


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops: the server runs on uvloop where there is one."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture
def ask(deploy: Callable[..., Any], asking: Any) -> Callable[..., Any]:
    """An `Asking` of a fresh deployment; `upstream` holds its settings."""

    def build(upstream: dict[str, Any] | None = None, **fields: Any) -> Any:
        return asking(deploy(**(upstream or {})), **fields)

    return build


async def test_a_stream_arrives_as_it_was_sent(raw: Any, ask: Any) -> None:
    events = [raw.delta("", role="assistant"), raw.delta("Hel"), raw.delta("lo", x=1)]
    raw.script = raw.pieces(*raw.stream(*events, raw.delta(finish="stop"), raw.usage(), raw.DONE))
    asked = await ask().go()
    assert asked.text == "Hello"
    assert [c for chunk in asked.chunks for c in chunk.choices] == [
        choice for event in [*events, raw.delta(finish="stop")] for choice in event["choices"]
    ]
    assert asked.call.outcome is Outcome.OK
    assert asked.call.usage == Usage(7, 2)
    assert asked.call.started <= asked.call.first_token <= asked.call.ended


async def test_events_of_one_read_are_one_batch(raw: Any, ask: Any) -> None:
    events = [raw.delta("a"), raw.delta("b"), raw.delta("c", "stop")]
    raw.script = raw.pieces(*raw.stream(b"".join(map(raw.event, events)), raw.DONE))
    asked = await ask().go()
    assert [len(batch) for batch in asked.batches] == [3]


async def test_no_event_waits_for_the_next(raw: Any, ask: Any) -> None:
    seen = anyio.Event()

    async def on_batch(_: Any) -> None:
        seen.set()

    async def script(_: Any, connection: Any) -> None:
        head, first, *rest = raw.stream(raw.delta("a"), raw.delta("b", "stop"), raw.DONE)
        await connection.send(head, first)
        await seen.wait()
        await connection.send(*rest)

    raw.script = script
    assert (await ask(on_batch=on_batch).go()).text == "ab"


async def test_a_whole_answer_is_one_chunk(ask: Any) -> None:
    asked = await ask(stream=False).go()
    [chunk] = asked.chunks
    assert chunk.choices == [
        {"index": 0, "delta": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
    ]
    assert asked.call.usage == Usage(7, 2)
    assert asked.call.first_token is not None


async def test_the_request_holds_what_was_asked_and_who_asks(raw: Any, ask: Any) -> None:
    upstream = {"api_key": "key-of-ours", "headers": {"X-Team": "search"}, "query": {"v": "1 2"}}
    await ask(upstream, stream=False, params={"temperature": 0.5, "x": [1]}, hops=2).go()
    [request] = raw.requests
    assert (request.method, request.path) == ("POST", "/v1/chat/completions?v=1+2")
    assert request.json == {
        "model": "vendor/model",
        "messages": [{"role": "user", "content": "hi there"}],
        "temperature": 0.5,
        "x": [1],
        "stream": False,
    }
    host = raw.url.removeprefix("http://").removesuffix("/v1")
    assert request.headers.pop("user-agent").startswith("moa-gateway/")
    request.headers.pop("connection", None)
    assert request.headers == {
        "host": host,
        "accept": "application/json, text/event-stream",
        "accept-encoding": "identity",
        "authorization": "Bearer key-of-ours",
        "content-type": "application/json",
        "content-length": str(len(request.body)),
        "x-moa-hops": "3",
        "x-team": "search",
    }


async def test_another_auth_header_gets_the_key_alone(raw: Any, ask: Any) -> None:
    await ask({"api_key": "key-of-ours", "auth_header": "Api-Key"}, stream=False).go()
    assert raw.requests[0].headers["api-key"] == "key-of-ours"
    assert "authorization" not in raw.requests[0].headers


async def test_streams_always_ask_for_usage(raw: Any, ask: Any) -> None:
    raw.script = raw.pieces(*raw.stream(raw.delta("a", "stop"), raw.DONE))
    await ask().go()
    assert raw.requests[0].json["stream_options"] == {"include_usage": True}
    assert raw.requests[0].json["stream"] is True


@pytest.mark.parametrize(
    "done", [b"data: [DONE]\n\n", b"data: [DONE]", b"data:[DONE]\r\n\r\n", b""]
)
async def test_a_finished_stream_needs_no_done(raw: Any, ask: Any, done: bytes) -> None:
    raw.script = raw.pieces(*raw.stream(raw.delta("a"), raw.delta(finish="stop"), done or b"\n"))
    asked = await ask().go()
    assert asked.text == "a"
    assert asked.call.outcome is Outcome.OK


async def test_a_last_event_without_its_blank_line_counts(raw: Any, ask: Any) -> None:
    last = raw.event(raw.delta("b", "stop")).removesuffix(b"\n\n")
    raw.script = raw.pieces(*raw.stream(raw.delta("a"), last))
    assert (await ask().go()).text == "ab"


@pytest.mark.parametrize("then", ["end", "close", "reset", "half"])
async def test_a_cut_stream_is_not_an_answer_but_is_billed(raw: Any, ask: Any, then: str) -> None:
    half = [raw.event(raw.delta("lost"))[:-20]] if then == "half" else []
    pieces = raw.stream(raw.delta("abcdef"), raw.delta("ghi"), *half)
    if then in {"end", "half"}:
        raw.script = raw.pieces(*pieces)
    else:
        raw.script = raw.pieces(*pieces[:-1], then=then)
    asked = ask()
    with pytest.raises(UpstreamMalformed):
        await asked.go()
    assert asked.text == "abcdefghi"
    assert asked.call.outcome is Outcome.FAILED
    assert asked.call.error_kind == "upstream_malformed"
    assert asked.call.usage == Usage(ESTIMATED_PROMPT, 3, estimated=True)


async def test_one_unfinished_choice_of_two_is_a_cut_stream(raw: Any, ask: Any) -> None:
    second = raw.delta("b")
    second["choices"][0]["index"] = 1
    raw.script = raw.pieces(*raw.stream(raw.delta("a", "stop"), second))
    with pytest.raises(UpstreamMalformed):
        await ask().go()


async def test_a_connection_lost_after_the_last_event_loses_nothing(raw: Any, ask: Any) -> None:
    pieces = raw.stream(raw.delta("a"), raw.delta(finish="stop"))
    raw.script = raw.pieces(*pieces[:-1], then="close")
    asked = await ask().go()
    assert asked.text == "a"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "body",
    [b"<html>Sorry</html>", b"", b"Sorry", b'{"choices": [{"mess', b"[]", b"null", b"{}", b" \n"],
)
async def test_garbage_with_status_200_is_malformed(
    raw: Any, ask: Any, body: bytes, *, stream: bool
) -> None:
    raw.script = raw.answers(raw.whole(body, content_type="text/html"))
    asked = ask(stream=stream)
    with pytest.raises(UpstreamMalformed) as caught:
        await asked.go()
    assert "Sorry" not in caught.value.message
    assert asked.call.usage == Usage(ESTIMATED_PROMPT, 0, estimated=True)


async def test_a_stream_of_done_alone_is_no_answer(raw: Any, ask: Any) -> None:
    raw.script = raw.pieces(*raw.stream(raw.DONE))
    with pytest.raises(UpstreamMalformed):
        await ask().go()


async def test_broken_json_in_an_event_is_malformed(raw: Any, ask: Any) -> None:
    raw.script = raw.pieces(*raw.stream(raw.delta("a"), b"data: {oops}\n\n", raw.DONE))
    with pytest.raises(UpstreamMalformed):
        await ask().go()


async def test_json_answered_to_a_request_for_a_stream_is_an_answer(ask: Any) -> None:
    asked = await ask(stream=True).go()
    assert asked.text == "hello"
    assert asked.chunks[0].choices[0]["finish_reason"] == "stop"


async def test_a_stream_answered_to_a_plain_request_is_one_chunk(raw: Any, ask: Any) -> None:
    calls = [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}]
    more = [{"index": 0, "function": {"arguments": "}"}}]
    events = [raw.delta("he"), raw.delta("y", tool_calls=calls), raw.delta(tool_calls=more)]
    raw.script = raw.pieces(
        *raw.stream(*events, raw.delta(finish="tool_calls"), raw.usage(), raw.DONE)
    )
    asked = await ask(stream=False).go()
    [chunk] = asked.chunks
    [choice] = chunk.choices
    assert choice["delta"]["content"] == "hey"
    assert choice["delta"]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert choice["finish_reason"] == "tool_calls"
    assert asked.call.usage == Usage(7, 2)


async def test_an_error_inside_a_stream_is_an_error(raw: Any, ask: Any) -> None:
    error = {"error": {"message": "secret words", "code": 429}}
    raw.script = raw.pieces(*raw.stream(raw.delta("a"), error, raw.DONE))
    asked = ask()
    with pytest.raises(UpstreamRateLimited) as caught:
        await asked.go()
    assert "secret" not in caught.value.message
    assert asked.call.usage == Usage(ESTIMATED_PROMPT, 1, estimated=True)


async def test_an_error_inside_a_plain_answer_is_an_error(raw: Any, ask: Any) -> None:
    raw.script = raw.answers(raw.json({"error": {"type": "invalid_request_error"}}))
    with pytest.raises(UpstreamRejected) as caught:
        await ask(stream=False).go()
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UpstreamRejected),
        (401, UpstreamDenied),
        (404, UpstreamUnavailable),
        (429, UpstreamRateLimited),
        (500, UpstreamUnavailable),
        (504, UpstreamTimeout),
    ],
)
async def test_refused_calls_are_booked_but_not_billed(
    raw: Any, ask: Any, status: int, kind: type[Exception]
) -> None:
    raw.script = raw.answers(raw.json({"error": {"message": "m"}}, status, retry_after="7"))
    asked = ask()
    with pytest.raises(kind) as caught:
        await asked.go()
    assert asked.call.outcome is Outcome.FAILED
    assert asked.call.error_kind == caught.value.kind  # type: ignore[attr-defined]
    assert asked.call.usage is None
    if status == 429:
        assert caught.value.retry_after == 7  # type: ignore[attr-defined]


async def test_redirects_are_not_followed(raw: Any, ask: Any) -> None:
    raw.script = raw.answers(raw.whole(b"", 307, location=raw.url + "/chat/completions"))
    with pytest.raises(UpstreamUnavailable):
        await ask().go()
    assert len(raw.requests) == 1


async def test_a_refused_connection_is_unavailable_and_unbilled(ask: Any) -> None:
    asked = ask({"base_url": "http://127.0.0.1:9/v1"})
    with pytest.raises(UpstreamUnavailable):
        await asked.go()
    assert asked.call.usage is None


async def test_a_connection_lost_before_the_answer_is_unavailable(raw: Any, ask: Any) -> None:
    raw.script = raw.pieces(then="close")
    asked = ask()
    with pytest.raises(UpstreamUnavailable):
        await asked.go()
    assert asked.call.usage is None
    assert len(raw.requests) == 1


FAST = {"timeouts": {"first_token": 0.1, "idle": 0.1}}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("sent", [0, 1])
async def test_silence_before_the_first_token_times_out(
    raw: Any, ask: Any, sent: int, *, stream: bool
) -> None:
    raw.script = raw.pieces(*raw.stream()[:sent], then="hang")
    asked = ask(FAST, stream=stream)
    with pytest.raises(UpstreamTimeout), anyio.fail_after(2):
        await asked.go()
    assert asked.call.usage == Usage(ESTIMATED_PROMPT, 0, estimated=True)


async def test_keep_alives_do_not_stand_in_for_the_first_token(raw: Any, ask: Any) -> None:
    async def script(_: Any, connection: Any) -> None:
        await connection.send(raw.stream()[0])
        while True:
            await connection.send(raw.chunk(b": processing\n\n"))

    raw.script = script
    with pytest.raises(UpstreamTimeout), anyio.fail_after(2):
        await ask(FAST).go()


async def test_keep_alives_hold_a_running_stream(raw: Any, ask: Any) -> None:
    pieces = raw.stream(raw.delta("a"), *[b": wait\n\n"] * 50, raw.delta("b", "stop"), raw.DONE)
    raw.script = raw.pieces(*pieces)
    assert (await ask(FAST).go()).text == "ab"


async def test_silence_in_the_middle_times_out_and_is_billed(raw: Any, ask: Any) -> None:
    raw.script = raw.pieces(*raw.stream(raw.delta("abc"))[:-1], then="hang")
    asked = ask({"timeouts": {"first_token": 30, "idle": 0.1}})
    with pytest.raises(UpstreamTimeout), anyio.fail_after(2):
        await asked.go()
    assert asked.call.usage == Usage(ESTIMATED_PROMPT, 1, estimated=True)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("sent", [0, 1, 2])
async def test_cancelling_closes_the_connection_at_once_and_books_an_estimate(
    raw: Any, ask: Any, sent: int, *, stream: bool
) -> None:
    sending = anyio.Event()

    async def script(_: Any, connection: Any) -> None:
        await connection.send(*raw.stream(raw.delta("abc"))[:sent])
        sending.set()
        await connection.wait_until_gone()

    raw.script = script
    asked = ask(stream=stream)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(asked.go)
        await sending.wait()
        await anyio.sleep(0.03)  # what was sent is read by now
        tasks.cancel_scope.cancel()
    with anyio.fail_after(0.1):
        await raw.connections[0].gone.wait()
    assert asked.call.outcome is Outcome.CANCELLED
    seen = 1 if sent == 2 else 0
    assert asked.call.usage == Usage(ESTIMATED_PROMPT, seen, estimated=True)


async def test_cancelling_while_the_reader_is_slow_closes_the_connection(
    raw: Any, ask: Any
) -> None:
    async def forever(_: Any) -> None:
        await anyio.sleep_forever()

    raw.script = raw.pieces(*raw.stream(raw.delta("abc"))[:-1], then="hang")
    asked = ask(on_batch=forever)
    with anyio.move_on_after(0.1):
        await asked.go()
    with anyio.fail_after(0.1):
        await raw.connections[0].gone.wait()
    assert asked.call.outcome is Outcome.CANCELLED


async def test_a_reader_that_fails_ends_the_call(raw: Any, ask: Any) -> None:
    async def fail(_: Any) -> None:
        raise RuntimeError("a bug of ours")

    raw.script = raw.pieces(*raw.stream(raw.delta("abc"))[:-1], then="hang")
    asked = ask(on_batch=fail)
    with pytest.raises(RuntimeError):
        await asked.go()
    with anyio.fail_after(0.1):
        await raw.connections[0].gone.wait()
    assert asked.call.outcome is Outcome.FAILED
    assert asked.call.error_kind == "moa_internal"


async def test_a_slow_reader_slows_the_upstream(raw: Any, ask: Any) -> None:
    sent = 0
    event = raw.chunk(raw.event(raw.delta("x" * 10_000)))

    async def script(_: Any, connection: Any) -> None:
        nonlocal sent
        await connection.send(raw.stream()[0])
        for _ in range(3_000):
            await connection.send(event, pause=0)
            sent += 1

    async def forever(_: Any) -> None:
        await anyio.sleep_forever()

    raw.script = script
    with anyio.move_on_after(0.5):
        await ask(on_batch=forever).go()
    assert 0 < sent < 2_000


@pytest.mark.parametrize("stream", [True, False])
async def test_connections_are_used_again(
    raw: Any, deploy: Any, asking: Any, *, stream: bool
) -> None:
    if stream:
        raw.script = raw.pieces(*raw.stream(raw.delta("a", "stop"), raw.DONE))
    deployment = deploy()
    for _ in range(4):
        await asking(deployment, stream=stream).go()
        await anyio.sleep(0.03)
    assert len(raw.requests) == 4
    assert len(raw.connections) == 1


async def test_the_connection_of_a_refused_call_is_used_again(
    raw: Any, deploy: Any, asking: Any
) -> None:
    raw.script = raw.answers(raw.json({"error": {}}, 500), raw.json(raw.completion("a")))
    deployment = deploy()
    with pytest.raises(UpstreamUnavailable):
        await asking(deployment).go()
    await asking(deployment).go()
    assert len(raw.connections) == 1


async def test_an_upstream_that_never_ends_its_body_does_not_hold_the_answer(
    raw: Any, deploy: Any, asking: Any
) -> None:
    raw.script = raw.pieces(*raw.stream(raw.delta("a", "stop"), raw.DONE)[:-1], then="hang")
    deployment = deploy()
    with anyio.fail_after(1):
        asked = await asking(deployment).go()
    assert asked.call.outcome is Outcome.OK
    with anyio.fail_after(1):
        await raw.connections[0].gone.wait()


async def test_a_large_error_body_is_not_read_to_its_end(raw: Any, ask: Any) -> None:
    async def script(_: Any, connection: Any) -> None:
        await connection.send(raw.head(500, transfer_encoding="chunked"))
        while True:
            await connection.send(raw.chunk(b"x" * 10_000), pause=0)

    raw.script = script
    with pytest.raises(UpstreamUnavailable) as caught, anyio.fail_after(3):
        await ask().go()
    assert len(caught.value.detail or "") <= 2_000


async def test_large_requests_and_answers_pass(raw: Any, ask: Any) -> None:
    text = "ü" * 1_500_000
    raw.script = raw.answers(raw.json(raw.completion(text)))
    messages = ({"role": "user", "content": text},)
    asked = await ask(stream=False, messages=messages).go()
    assert asked.text == text
    assert raw.requests[0].json["messages"][0]["content"] == text


TWO_TURNS = ({"role": "user", "content": "a"}, {"role": "user", "content": "b"})
MERGED = [{"role": "user", "content": "a\n\nb"}]


def refusal(raw: Any, status: int = 400, message: str = "bad", **error: str) -> bytes:
    return raw.json({"error": {"message": message, **error}}, status)


@pytest.mark.parametrize(
    ("status", "message"), [(400, "bad"), (500, "Jinja: roles must alternate user/assistant")]
)
async def test_a_refused_pair_of_user_turns_is_merged_and_remembered(
    raw: Any, deploy: Any, asking: Any, status: int, message: str
) -> None:
    answer = raw.json(raw.completion("yes"))
    raw.script = raw.answers(refusal(raw, status, message), answer)
    deployment = deploy()
    first = await asking(deployment, TWO_TURNS, stream=False).go()
    assert first.text == "yes"
    assert [call.outcome for call in first.run.calls] == [Outcome.FAILED, Outcome.OK]
    assert [call.usage for call in first.run.calls] == [None, Usage(7, 2)]
    second = await asking(deployment, TWO_TURNS, stream=False).go()
    assert second.call.outcome is Outcome.OK
    assert [request.json["messages"] for request in raw.requests] == [
        list(TWO_TURNS),
        MERGED,
        MERGED,
    ]


async def test_a_pair_refused_both_ways_raises_the_first_refusal_and_learns_nothing(
    raw: Any, deploy: Any, asking: Any
) -> None:
    raw.script = raw.answers(refusal(raw, param="messages"), refusal(raw, param="tools"))
    deployment = deploy()
    asked = asking(deployment, TWO_TURNS)
    with pytest.raises(UpstreamRejected) as caught:
        await asked.go()
    assert caught.value.param == "messages"
    assert len(asked.run.calls) == 2
    assert deployment.model.merges_user_turns is False


@pytest.mark.parametrize(
    "error",
    [{"code": "context_length_exceeded"}, {"param": "temperature"}, {"code": "content_filter"}],
)
async def test_a_refusal_with_another_reason_is_not_asked_again(
    raw: Any, ask: Any, error: dict[str, str]
) -> None:
    raw.script = raw.answers(refusal(raw, **error))
    asked = ask(messages=TWO_TURNS)
    with pytest.raises(UpstreamRejected):
        await asked.go()
    assert len(raw.requests) == 1


async def test_a_refused_single_turn_is_not_asked_again(raw: Any, ask: Any) -> None:
    raw.script = raw.answers(refusal(raw))
    with pytest.raises(UpstreamRejected):
        await ask().go()
    assert len(raw.requests) == 1


async def test_cookies_of_an_upstream_are_not_kept(raw: Any, deploy: Any, asking: Any) -> None:
    raw.script = raw.answers(raw.json(raw.completion("a"), set_cookie="a=b; Path=/"))
    deployment = deploy()
    for _ in range(2):
        await asking(deployment, stream=False).go()
    assert "cookie" not in raw.requests[1].headers
