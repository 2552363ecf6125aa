"""The fake upstream over a real socket: what it sends, what it gets wrong, what it writes down."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import orjson
import pytest

from app.upstream.fake_faults import HALF_HEAD, NOISE
from app.upstream.fake_server import Asked, Ending, FakeUpstream, Reply

USER = {"role": "user", "content": "Why?"}
PATIENCE = 5.0


@pytest.fixture
async def client(fake_upstream: FakeUpstream) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=fake_upstream.base_url, timeout=PATIENCE) as client:
        yield client


async def ask(client: httpx.AsyncClient, model: str = "any", **fields: object) -> httpx.Response:
    body = {"model": model, "messages": [USER], **fields}
    return await client.post("/chat/completions", json=body)


async def stream(client: httpx.AsyncClient, model: str = "any", **fields: object) -> str:
    return (await ask(client, model, stream=True, **fields)).text


def events(text: str) -> list[Any]:
    """What stands after `data: ` in a stream of one-line events."""
    payloads = [event.removeprefix("data: ") for event in text.split("\n\n") if event]
    return [orjson.loads(payload) if payload != "[DONE]" else payload for payload in payloads]


def contents(text: str) -> str:
    chunks = [event for event in events(text) if event != "[DONE]"]
    return "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]
    )


def all_over(entries: list[Asked]) -> bool:
    return bool(entries) and all(asked.ended is not None for asked in entries)


async def test_a_plain_question_gets_a_whole_answer(client: httpx.AsyncClient) -> None:
    answer = (await ask(client)).json()
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "any"
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "An answer."},
            "finish_reason": "stop",
        }
    ]
    assert answer["usage"] == {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}


async def test_a_stream_has_role_tokens_finish_reason_and_done(client: httpx.AsyncClient) -> None:
    *chunks, done = events(await stream(client))
    assert done == "[DONE]"
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": "An "},
        {"content": "answer."},
        {},
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert "usage" not in chunks[-1]


async def test_usage_is_streamed_in_its_own_chunk_when_asked_for(client: httpx.AsyncClient) -> None:
    *chunks, last, _ = events(await stream(client, stream_options={"include_usage": True}))
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 12
    assert {chunk["usage"] for chunk in chunks} == {None}


@pytest.mark.parametrize(
    ("place", "where"),
    [
        ("none", []),
        ("end", [(3, 0)]),
        ("choice", [(3, 1)]),
        ("finish", [(2, 1)]),
        ("every", [(0, 1), (1, 1), (2, 1)]),
    ],
)
async def test_usage_is_reported_wherever_real_servers_put_it(
    client: httpx.AsyncClient, place: str, where: list[tuple[int, int]]
) -> None:
    *chunks, _ = events(await stream(client, f"any?usage={place}"))
    found = [(n, len(chunk["choices"])) for n, chunk in enumerate(chunks) if chunk.get("usage")]
    assert found == where


async def test_n_choices_are_interleaved(client: httpx.AsyncClient) -> None:
    *chunks, _ = events(await stream(client, "any?tokens=1", n=2))
    assert [chunk["choices"][0]["index"] for chunk in chunks] == [0, 1, 0, 1]
    assert len((await ask(client, n=2)).json()["choices"]) == 2


async def test_a_reply_written_in_code_answers_for_its_model_only(
    client: httpx.AsyncClient, fake_upstream: FakeUpstream
) -> None:
    fake_upstream.replies["qwen"] = Reply(text="I am Qwen.")
    assert contents(await stream(client, "qwen")) == "I am Qwen."
    assert contents(await stream(client, "other")) == "An answer."
    fake_upstream.replies["qwen"] = Reply(text="I changed.")
    assert contents(await stream(client, "qwen")) == "I changed."


async def test_a_function_answers_what_it_is_asked(
    client: httpx.AsyncClient, fake_upstream: FakeUpstream
) -> None:
    fake_upstream.replies["echo"] = lambda body: Reply(text=body["messages"][-1]["content"])
    assert contents(await stream(client, "echo")) == "Why?"


async def test_a_query_string_behind_the_model_changes_its_reply(
    client: httpx.AsyncClient, fake_upstream: FakeUpstream
) -> None:
    fake_upstream.replies["qwen"] = Reply(text="I am Qwen.", done=False)
    text = await stream(client, "qwen?tokens=5")
    assert contents(text) == "I am Qwen. I am "
    assert "[DONE]" not in text


async def test_a_wrong_query_string_says_what_is_accepted(client: httpx.AsyncClient) -> None:
    response = await ask(client, "any?tokns=5")
    assert response.status_code == 400
    assert "tokens" in response.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"messages":[]}', b'{"model":"a","n":"x"}'])
async def test_what_is_no_chat_request_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    assert (await client.post("/chat/completions", content=body)).status_code == 400


async def test_tool_calls_stream_in_fragments_at_their_own_or_all_at_index_zero(
    client: httpx.AsyncClient, fake_upstream: FakeUpstream
) -> None:
    def call(name: str) -> dict[str, Any]:
        function = {"name": name, "arguments": '{"x": 1}'}
        return {"id": name, "type": "function", "function": function}

    fake_upstream.replies["a"] = Reply(text="", tool_calls=(call("f"), call("g")))
    for model, indexes in (("a", {0, 1}), ("a?tool_index=zero", {0})):
        *chunks, _ = events(await stream(client, model))
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
        calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
        assert {call["index"] for call in calls} == indexes
        assert "".join(call["function"]["arguments"] for call in calls) == '{"x": 1}' * 2
        assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_errors_have_any_status_and_a_retry_after(client: httpx.AsyncClient) -> None:
    response = await ask(client, "any?status=429&retry_after=2&code=slow_down", stream=True)
    assert response.status_code == 429
    assert response.headers["retry-after"] == "2"
    assert response.json()["error"]["code"] == "slow_down"


async def test_html_may_come_with_status_200(client: httpx.AsyncClient) -> None:
    response = await ask(client, "any?body=%3Chtml%3E", stream=True)
    assert (response.status_code, response.text) == (200, "<html>")
    assert response.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(("newline", "wanted"), [("crlf", "\r\n\r\n"), ("cr", "\r\r")])
async def test_lines_may_end_in_any_way(
    client: httpx.AsyncClient, newline: str, wanted: str
) -> None:
    text = await stream(client, f"any?newline={newline}")
    assert text.count(wanted) == 4
    assert text.replace(wanted, "\n\n") == await stream(client)


async def test_comments_stand_between_events(client: httpx.AsyncClient) -> None:
    text = await stream(client, "any?comments=true")
    assert text.count(": keep-alive\n\ndata: ") == 4


async def test_an_event_may_be_spread_over_several_data_lines(client: httpx.AsyncClient) -> None:
    text = await stream(client, "any?data_lines=true")
    first = text.split("\n\n")[0]
    assert first.count("data: ") > 3
    assert orjson.loads(first.replace("data: ", "")) == events(await stream(client))[0]


async def test_a_stream_split_anywhere_is_the_same_stream(client: httpx.AsyncClient) -> None:
    whole = await stream(client, "any?text=Gr%C3%BC%C3%9Fe")
    assert await stream(client, "any?text=Gr%C3%BC%C3%9Fe&split=7") == whole


@pytest.mark.parametrize("after", [0, 2])
async def test_an_error_object_may_end_a_200_stream(client: httpx.AsyncClient, after: int) -> None:
    *before, last = events(await stream(client, f"any?then=error&after={after}"))
    assert len(before) == after
    assert last["error"]["message"] == "scripted failure"


async def test_an_error_object_may_be_a_200_body(client: httpx.AsyncClient) -> None:
    response = await ask(client, "any?then=error")
    assert response.status_code == 200
    assert "error" in response.json()


async def test_broken_json_may_end_a_stream_or_be_a_body(client: httpx.AsyncClient) -> None:
    text = await stream(client, "any?then=garbage&after=1")
    with pytest.raises(orjson.JSONDecodeError):
        events(text)
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads((await ask(client, "any?then=garbage")).content)


async def test_a_stream_may_end_neatly_without_an_end(client: httpx.AsyncClient) -> None:
    found = events(await stream(client, "any?then=end&after=2"))
    assert [event["choices"][0]["finish_reason"] for event in found] == [None, None]


async def test_a_finish_reason_may_be_missing(client: httpx.AsyncClient) -> None:
    *chunks, done = events(await stream(client, "any?finish="))
    assert (len(chunks), done) == (2, "[DONE]")


@pytest.mark.parametrize("after", [-1, 0, 1])
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_cut_connection_is_a_transport_error_and_logged(
    client: httpx.AsyncClient, fake_upstream: FakeUpstream, after: int, streamed: object
) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await ask(client, f"any?then=cut&after={after}", stream=streamed)
    await fake_upstream.log.reached(all_over)
    assert [asked.ending for asked in fake_upstream.log.entries] == [Ending.CUT]


@pytest.mark.parametrize("after", [-1, 0, 1])
async def test_a_client_that_leaves_a_hanging_call_is_logged_at_once(
    client: httpx.AsyncClient, fake_upstream: FakeUpstream, after: int
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream, client, f"any?then=hang&after={after}")
        await fake_upstream.log.reached(lambda log: bool(log) and log[0].events == max(after, 0))
        left = time.monotonic()
        tasks.cancel_scope.cancel()
    await fake_upstream.log.reached(all_over)
    [asked] = fake_upstream.log.entries
    assert asked.ending is Ending.ABORTED
    assert asked.ended is not None
    assert asked.ended - left < 1


async def test_a_client_that_leaves_a_paced_stream_is_logged(
    client: httpx.AsyncClient, fake_upstream: FakeUpstream
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream, client, "any?tokens=100000&every=5ms")
        await fake_upstream.log.reached(lambda log: bool(log) and log[0].events >= 2)
        tasks.cancel_scope.cancel()
    await fake_upstream.log.reached(all_over)
    assert fake_upstream.log.entries[0].ending is Ending.ABORTED


async def test_a_gate_holds_the_stream_until_the_test_opens_it(
    client: httpx.AsyncClient, fake_upstream: FakeUpstream
) -> None:
    body = {"model": "any?then=gate&after=1", "messages": [USER], "stream": True}
    async with client.stream("POST", "/chat/completions", json=body) as response:
        parts = response.aiter_text()
        assert contents(await anext(parts)) == "An "
        fake_upstream.open_gate()
        assert contents("".join([part async for part in parts])) == "answer."


async def test_a_gate_holds_an_unstreamed_answer_too(
    client: httpx.AsyncClient, fake_upstream: FakeUpstream
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, client, "any?then=gate&after=-1")
        await fake_upstream.log.reached(lambda log: len(log) == 1)
        assert fake_upstream.log.entries[0].ending is Ending.OPEN
        await client.post(fake_upstream.base_url.replace("/v1", "/fake/gate"))
    assert fake_upstream.log.entries[0].ending is Ending.ANSWERED


async def test_delays_pass_before_and_between_the_tokens(client: httpx.AsyncClient) -> None:
    for streamed in (True, False):
        started = time.monotonic()
        await ask(client, "any?tokens=3&first=30ms&every=10ms", stream=streamed)
        assert time.monotonic() - started >= 0.05


async def test_two_user_messages_in_a_row_are_refused_where_templates_are_strict(
    client: httpx.AsyncClient,
) -> None:
    assert (await ask(client, "any?strict_roles=true")).status_code == 200
    response = await ask(client, "any?strict_roles=true", messages=[USER, USER])
    assert response.status_code == 400
    assert "alternate" in response.json()["error"]["message"]


async def test_the_log_has_headers_and_body_of_every_request(
    client: httpx.AsyncClient, fake_upstream: FakeUpstream
) -> None:
    client.headers["authorization"] = "Bearer planted"
    await ask(client, temperature=0.5)
    [asked] = fake_upstream.log.entries
    assert asked.headers["authorization"] == "Bearer planted"
    assert asked.body == {"model": "any", "messages": [USER], "temperature": 0.5}
    assert asked.model == "any"


async def test_the_log_is_read_and_cleared_over_http(
    client: httpx.AsyncClient, fake_upstream: FakeUpstream
) -> None:
    await ask(client)
    await client.post("/chat/completions", content=b"\xff")
    address = fake_upstream.base_url.replace("/v1", "/fake/log")
    good, bad = (await client.get(address)).json()["asked"]
    assert (good["body"]["model"], good["ending"], good["events"]) == ("any", "answered", 1)
    assert bad["body"] == "\N{REPLACEMENT CHARACTER}"
    await client.delete(address)
    assert fake_upstream.log.entries == []


async def test_waiting_for_what_never_happens_says_what_did(
    client: httpx.AsyncClient, fake_upstream: FakeUpstream
) -> None:
    await ask(client)
    with pytest.raises(TimeoutError, match="answered after 1"):
        await fake_upstream.log.reached(lambda log: len(log) == 2, patience=0.01)


async def test_models_are_those_with_a_reply(
    client: httpx.AsyncClient, fake_upstream: FakeUpstream
) -> None:
    fake_upstream.replies["qwen"] = Reply()
    assert [model["id"] for model in (await client.get("/models")).json()["data"]] == ["qwen"]


async def test_without_a_default_unknown_models_are_not_found() -> None:
    transport = httpx.ASGITransport(app=FakeUpstream(default=None))
    async with httpx.AsyncClient(transport=transport, base_url="http://fake/v1") as client:
        assert (await ask(client)).status_code == 404


async def test_other_addresses_are_not_found(client: httpx.AsyncClient) -> None:
    assert (await client.get("/embeddings")).status_code == 404


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_leaves_an_answer_without_pauses_is_logged(
    fake_upstream: FakeUpstream, joined: object, streamed: object
) -> None:
    more_than_sockets_hold = Reply(text="word" * 50, tokens=100_000, joined=bool(joined))
    fake_upstream.replies["long"] = more_than_sockets_hold
    body = orjson.dumps({"model": "long", "messages": [USER], "stream": streamed})
    url = httpx.URL(fake_upstream.base_url)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE)
        connection.connect((url.host, url.port))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}"
        connection.sendall(f"{head}\r\n\r\n".encode() + body)
        assert connection.recv(1)
    fake_upstream.log.wait(all_over)
    assert fake_upstream.log.entries[0].ending is Ending.ABORTED


def test_a_client_that_asks_for_the_connections_end_has_not_left(
    fake_upstream: FakeUpstream,
) -> None:
    headers = {"connection": "close"}
    for model in ("any", "any?joined=false", "any?tokens=50000"):
        body = {"model": model, "messages": [USER], "stream": True}
        url = f"{fake_upstream.base_url}/chat/completions"
        assert "[DONE]" in httpx.post(url, json=body, headers=headers, timeout=PATIENCE).text
    fake_upstream.log.wait(all_over)
    assert {asked.ending for asked in fake_upstream.log.entries} == {Ending.ANSWERED}


def raw_answer(upstream: FakeUpstream, model: str, *, streamed: object = True) -> bytes:
    """All that comes over the socket; ConnectionResetError where it ends in a reset."""
    body = orjson.dumps({"model": model, "messages": [USER], "stream": streamed})
    url = httpx.URL(upstream.base_url)
    with socket.create_connection((url.host, url.port), timeout=PATIENCE) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}"
        connection.sendall(f"{head}\r\n\r\n".encode() + body)
        received = b""
        while data := connection.recv(65_536):
            received += data
    return received


@pytest.mark.parametrize("where", ["after=-1", "after=-1&half_head=true", "after=0", "after=1"])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_reset_is_a_reset_wherever_it_comes(
    fake_upstream: FakeUpstream, where: str, streamed: object
) -> None:
    with pytest.raises(ConnectionResetError):
        raw_answer(fake_upstream, f"any?then=reset&{where}", streamed=streamed)
    fake_upstream.log.wait(all_over)
    assert fake_upstream.log.entries[0].ending is Ending.CUT


def test_half_a_head_may_be_all_there_is(fake_upstream: FakeUpstream) -> None:
    head = raw_answer(fake_upstream, "any?then=cut&after=-1&half_head=true")
    assert head == HALF_HEAD


def test_noise_may_stand_for_the_head(fake_upstream: FakeUpstream) -> None:
    assert raw_answer(fake_upstream, "any?then=noise&after=-1") == NOISE


def test_noise_may_come_between_two_chunks(fake_upstream: FakeUpstream) -> None:
    answer = raw_answer(fake_upstream, "any?then=noise&after=1")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"data: {") == 1
    assert answer.endswith(NOISE)


async def test_a_stream_may_end_neatly_in_the_middle_of_an_event(client: httpx.AsyncClient) -> None:
    first, second = (await stream(client, "any?then=half&after=1")).split("\n\n")
    assert events(first)
    assert second.startswith("data: {")
    with pytest.raises(orjson.JSONDecodeError):
        events(second)


async def test_the_content_type_may_be_wrong(client: httpx.AsyncClient) -> None:
    for streamed in (True, False):
        response = await ask(client, "any?content_type=image/png", stream=streamed)
        assert response.headers["content-type"] == "image/png"
        assert "An " in response.text


async def test_an_unstreamed_answer_may_drip_too(client: httpx.AsyncClient) -> None:
    response = await ask(client, "any?split=1")
    assert response.json()["choices"][0]["message"]["content"] == "An answer."


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_flood_may_be_a_line_or_a_bomb_that_unpacks_to_it(
    client: httpx.AsyncClient, streamed: object
) -> None:
    line = await ask(client, "any?flood=line&megabytes=2", stream=streamed)
    bomb = await ask(client, "any?flood=gzip&megabytes=2", stream=streamed)
    assert bomb.headers["content-encoding"] == "gzip"
    assert bomb.num_bytes_downloaded < 10_000
    assert b"\n" not in line.content
    assert len(bomb.content) == pytest.approx(len(line.content), rel=0.05)
    assert bomb.content[:1_000] == line.content[:1_000]
