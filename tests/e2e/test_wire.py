"""One stream, byte for byte; connections that stay; events that are never compressed."""

import re
import socket

import httpx
import pytest

from app.upstream.fake_server import Reply
from tests.e2e.test_raw_http import read_until, request

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
HEAD = '"id":"ID","object":"chat.completion.chunk","created":0,"model":"plain"'


def chunk(choices: str, after: str = "") -> str:
    return f'data: {{{HEAD},"choices":[{choices}]{after}}}\n\n'


def delta(said: str, finish: str = "null", index: int = 0) -> str:
    return f'{{"index":{index},"delta":{said},"finish_reason":{finish}}}'


ROLE = '"role":"assistant"'
USAGE = (
    '{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12,'
    '"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},'
    '"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0},"cost":null}'
)
SNAPSHOTS = {
    "text": (
        Reply(text="one two"),
        {},
        [
            chunk(delta(f'{{{ROLE},"content":"one "}}')),
            chunk(delta('{"content":"two"}')),
            chunk(delta("{}", '"stop"')),
        ],
    ),
    "usage": (
        Reply(text="one two"),
        {"stream_options": {"include_usage": True}},
        [
            chunk(delta(f'{{{ROLE},"content":"one "}}'), ',"usage":null'),
            chunk(delta('{"content":"two"}'), ',"usage":null'),
            chunk(delta("{}", '"stop"'), ',"usage":null'),
            chunk("", f',"usage":{USAGE}'),
        ],
    ),
    "reasoning and tools": (
        Reply(text="", reasoning="hm", tool_calls=(CALL,)),
        {},
        [
            chunk(delta(f'{{{ROLE},"reasoning_content":"hm"}}')),
            chunk(
                delta(
                    '{"tool_calls":[{"id":"c1","type":"function",'
                    '"function":{"name":"add","arguments":""},"index":0}]}'
                )
            ),
            chunk(delta('{"tool_calls":[{"index":0,"function":{"arguments":"{\\"a"}}]}')),
            chunk(delta('{"tool_calls":[{"index":0,"function":{"arguments":"\\":1}"}}]}')),
            chunk(delta("{}", '"tool_calls"')),
        ],
    ),
    "two choices": (
        Reply(text="one"),
        {"n": 2},
        [
            chunk(delta(f'{{{ROLE},"content":"one"}}')),
            chunk(delta(f'{{{ROLE},"content":"one"}}', index=1)),
            chunk(delta("{}", '"stop"')),
            chunk(delta("{}", '"stop"', index=1)),
        ],
    ),
    "unicode": (
        Reply(text="žluť 🐎\u2028", split=1),
        {},
        [
            chunk(delta(f'{{{ROLE},"content":"žluť "}}')),
            chunk(delta('{"content":"🐎\u2028"}')),
            chunk(delta("{}", '"stop"')),
        ],
    ),
}


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_a_stream_chunk_for_chunk(gateway, name):
    reply, fields, chunks = SNAPSHOTS[name]
    gateway.upstream.replies["plain-up"] = reply
    with gateway.connect() as connection:
        connection.sendall(request({"model": "plain", "stream": True, **fields}))
        raw = read_until(connection, b"\r\n0\r\n\r\n")

    head, _, body = raw.partition(b"\r\n\r\n")
    text = unchunked(body).decode()
    text = re.sub(r'"id":"chatcmpl-[0-9a-f]{24}"', '"id":"ID"', text)
    text = re.sub(r'"created":\d{10}', '"created":0', text)
    assert text == "".join([*chunks, "data: [DONE]\n\n"])
    names = sorted(line.split(b":")[0] for line in head.split(b"\r\n")[1:])
    assert names == [
        b"cache-control",
        b"content-type",
        b"date",
        b"server",
        b"transfer-encoding",
        b"x-accel-buffering",
        b"x-moa-run-id",
        b"x-request-id",
    ]


def unchunked(body: bytes) -> bytes:
    """Without HTTP's own chunks."""
    data = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        data, body = data + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return data


def test_a_connection_serves_one_request_after_another(gateway):
    """Streams, whole answers, lists and refusals, all on one socket."""
    with gateway.connect() as connection:
        for fields, end, status in [
            ({"model": "plain"}, b'"cost":null}}', b"200"),
            ({"model": "plain", "stream": True}, b"0\r\n\r\n", b"200"),
            ({"model": "none"}, b"}}", b"404"),
            ({"model": "plain", "n": 0}, b"}}", b"400"),
            ({"model": "panel", "stream": True}, b"0\r\n\r\n", b"200"),
        ]:
            connection.sendall(request(fields))
            raw = read_until(connection, end)
            assert raw.startswith(b"HTTP/1.1 " + status)
            assert b"connection: close" not in raw
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert read_until(connection, b"]}").startswith(b"HTTP/1.1 200")


def test_an_old_client_gets_the_stream_and_the_end_of_the_connection(gateway):
    with gateway.connect() as connection:
        connection.sendall(request({"model": "plain", "stream": True}, "connection: close\r\n"))
        raw = b""
        while piece := connection.recv(65536):
            raw += piece

    assert b"connection: close" in raw
    assert b"[DONE]" in raw


@pytest.mark.parametrize("encodings", ["gzip", "gzip, deflate, br, zstd", "*", "identity;q=0, *"])
@pytest.mark.parametrize("stream", [True, False])
def test_nothing_is_compressed(gateway, encodings, stream):
    gateway.upstream.replies["plain-up"] = Reply(text="word ", tokens=2_000)
    with gateway.connect() as connection:
        headers = f"accept-encoding: {encodings}\r\nconnection: close\r\n"
        connection.sendall(request({"model": "plain", "stream": stream}, headers))
        raw = b""
        while piece := connection.recv(65536):
            raw += piece

    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"content-encoding" not in head.lower()
    assert body.count(b"word ") == 2_000


def test_the_upstream_is_asked_not_to_compress(gateway):
    httpx.post(
        f"{gateway.url}/v1/chat/completions",
        json={"model": "plain", "stream": True, "messages": [{"role": "user", "content": "Hi"}]},
        headers={"accept-encoding": "gzip"},
    )
    assert gateway.upstream.log.entries[0].headers["accept-encoding"] == "identity"


def test_two_requests_at_once_on_one_connection_are_answered_in_order(gateway):
    gateway.upstream.replies |= {"plain-up": Reply(text="first"), "first-up": Reply(text="second")}
    with gateway.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        both = request({"model": "plain"}) + request({"model": "first"})
        connection.sendall(both)
        raw = read_until(connection, b'"second"')

    assert raw.index(b'"first"') < raw.index(b'"second"')
