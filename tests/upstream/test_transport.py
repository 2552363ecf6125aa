"""What every transport promises, on both; what needs a whole call is in test_openai."""

import asyncio
import gzip
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from app.upstream.aiohttp_transport import AiohttpTransport
from app.upstream.egress import Egress
from app.upstream.fake_server import FakeUpstream
from app.upstream.httpx_transport import HttpxTransport
from app.upstream.spec import Timeouts
from app.upstream.transport import (
    READ_BUFFER,
    ConnectTimeout,
    Disconnected,
    NotConnected,
    ReadTimeout,
    Transport,
    TransportError,
    Unreadable,
    tls_context,
)

HERE = Egress(allows_private=True)
KINDS = {
    "aiohttp": partial(AiohttpTransport, egress=HERE),
    "httpx": partial(HttpxTransport, egress=HERE),
}
PATIENT = Timeouts(connect=5, first_token=5, idle=5)
QUICK = Timeouts(connect=0.2, first_token=0.2, idle=0.2)
HEADERS = {"x-a": "b"}


@pytest.fixture
async def transport(transport_kind: str) -> AsyncIterator[Transport]:
    opened = KINDS[transport_kind]()
    yield opened
    await opened.aclose()


async def read_all(response: Any) -> bytes:
    body = b""
    try:
        while data := await response.read():
            body += data
    except TransportError:
        await response.abort()
        raise
    await response.finish()
    return body


async def test_a_body_is_read_to_its_end_and_stays_ended(transport: Any, raw: Any) -> None:
    raw.script = raw.pieces(*raw.stream(b"one", b"two"))
    response = await transport.endpoint(raw.url, {}, QUICK).post(b"{}", HEADERS)
    assert response.status == 200
    assert response.header("Content-Type") == "text/event-stream"
    assert response.header("x-none") is None
    assert await read_all(response) == b"onetwo"
    assert await response.read() == b""


async def test_a_post_has_its_body_and_a_get_has_none(transport: Any, raw: Any) -> None:
    endpoint = transport.endpoint(raw.url + "/x", {"a": "ü &"}, QUICK)
    await read_all(await endpoint.post(b'{"a": 1}', HEADERS))
    await read_all(await endpoint.get(HEADERS))
    post, get = raw.requests
    assert (post.method, post.json, post.headers["x-a"]) == ("POST", {"a": 1}, "b")
    assert (get.method, get.body, get.headers["x-a"]) == ("GET", b"", "b")
    assert post.path == get.path
    assert httpx.URL(raw.url + "/x?" + post.path.partition("?")[2]).params["a"] == "ü &"


async def test_a_compressed_body_is_unpacked_though_nobody_asked(transport: Any, raw: Any) -> None:
    raw.script = raw.answers(raw.whole(gzip.compress(b"text"), content_encoding="gzip"))
    response = await transport.endpoint(raw.url, {}, QUICK).post(b"{}", HEADERS)
    assert await read_all(response) == b"text"


async def test_a_broken_compression_is_an_error(transport: Any, raw: Any) -> None:
    raw.script = raw.answers(raw.whole(b"text", content_encoding="gzip"))
    with pytest.raises(TransportError):
        await read_all(await transport.endpoint(raw.url, {}, QUICK).post(b"{}", HEADERS))


async def test_a_bomb_is_unpacked_bit_by_bit_and_lets_others_work(
    transport: Any, fake_upstream: FakeUpstream
) -> None:
    endpoint = transport.endpoint(f"{fake_upstream.base_url}/chat/completions", {}, PATIENT)
    response = await endpoint.post(b'{"model": "any?flood=gzip&megabytes=2000"}', HEADERS)
    turns, sizes = 0, [0]

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count_turns)
        while sum(sizes) < 16_000_000:
            sizes.append(len(await response.read()))
        tasks.cancel_scope.cancel()
    await response.abort()
    assert max(sizes) < 8 * READ_BUFFER
    assert turns > 8


async def test_a_task_cancelled_by_asyncio_itself_leaves_no_upstream_at_work(
    transport: Any, fake_upstream: FakeUpstream
) -> None:
    """Twice, at any distance: libraries close connections in steps, and each can be cancelled."""
    endpoint = transport.endpoint(f"{fake_upstream.base_url}/chat/completions", {}, PATIENT)

    async def ask() -> None:
        response = await endpoint.post(b'{"model": "any?then=hang", "stream": true}', HEADERS)
        try:
            await response.read()
        finally:
            await response.abort()

    for distance in range(12):
        fake_upstream.log.clear()
        task = asyncio.ensure_future(ask())
        await fake_upstream.log.reached(bool)
        for _ in range(2):
            task.cancel()
            for _ in range(distance):
                await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        await fake_upstream.log.reached(lambda log: log[0].ended is not None, patience=2.0)


@pytest.mark.parametrize("encoding", ["br", "compress"])
async def test_an_unknown_compression_is_an_error(encoding: str, raw: Any) -> None:
    transport = HttpxTransport(egress=HERE)
    raw.script = raw.answers(raw.whole(b"text", content_encoding=encoding))
    with pytest.raises(Unreadable):
        await read_all(await transport.endpoint(raw.url, {}, QUICK).post(b"{}", HEADERS))
    await transport.aclose()


async def test_a_redirect_is_an_answer_like_any_other(transport: Any, raw: Any) -> None:
    raw.script = raw.answers(raw.whole(b"", 302, location=raw.url))
    response = await transport.endpoint(raw.url, {}, QUICK).post(b"{}", HEADERS)
    assert response.status == 302
    await response.finish()
    assert len(raw.requests) == 1


async def test_nobody_listening_is_not_connected(transport: Any) -> None:
    with pytest.raises(NotConnected):
        await transport.endpoint("http://127.0.0.1:9", {}, QUICK).post(b"{}", HEADERS)


async def test_an_unknown_host_is_not_connected(transport: Any) -> None:
    """Some resolvers take longer to say so than the connection may."""
    with pytest.raises((NotConnected, ConnectTimeout)):
        await transport.endpoint("http://nowhere.invalid", {}, QUICK).post(b"{}", HEADERS)


async def test_plain_http_behind_an_https_address_is_not_connected(
    transport: Any, raw: Any
) -> None:
    url = raw.url.replace("http:", "https:")
    with pytest.raises(TransportError):
        await transport.endpoint(url, {}, QUICK).post(b"{}", HEADERS)
    assert raw.requests == []


async def test_a_server_that_lets_nobody_in_is_a_connect_timeout(transport: Any) -> None:
    """A listening socket whose queue is full answers no further SYN."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        others = [socket.socket() for _ in range(4)]
        for other in others:
            other.setblocking(False)  # noqa: FBT003 - the socket module's
            other.connect_ex(address)
        endpoint = transport.endpoint("http://{}:{}".format(*address), {}, QUICK)
        try:
            with pytest.raises(ConnectTimeout):
                await endpoint.post(b"{}", HEADERS)
        finally:
            for other in others:
                other.close()


async def test_a_head_that_never_comes_is_a_read_timeout(transport: Any, raw: Any) -> None:
    raw.script = raw.pieces(then="hang")
    with pytest.raises(ReadTimeout) as caught:
        await transport.endpoint(raw.url, {}, QUICK).post(b"{}", HEADERS)
    assert caught.value.maybe_billed


async def test_idle_counts_from_the_first_bytes_on(transport: Any, raw: Any) -> None:
    raw.script = raw.pieces(*raw.stream(b"a")[:-1], then="hang")
    timeouts = Timeouts(connect=1, first_token=30, idle=0.1)
    response = await transport.endpoint(raw.url, {}, timeouts).post(b"{}", HEADERS)
    assert await response.read() == b"a"
    with pytest.raises(ReadTimeout), anyio.fail_after(2):
        await response.read()
    await response.abort()


async def test_a_pause_within_idle_is_none_of_its_business(transport: Any, raw: Any) -> None:
    async def script(_: Any, connection: Any) -> None:
        for piece in raw.stream(b"a", b"b", b"c"):
            await connection.send(piece)
            await asyncio.sleep(0.12)

    raw.script = script
    response = await transport.endpoint(raw.url, {}, QUICK).post(b"{}", HEADERS)
    assert await read_all(response) == b"abc"


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_a_body_that_breaks_off_is_a_lost_connection(
    transport: Any, raw: Any, then: str
) -> None:
    raw.script = raw.pieces(*raw.stream(b"a")[:-1], then=then)
    response = await transport.endpoint(raw.url, {}, QUICK).post(b"{}", HEADERS)
    with pytest.raises(Disconnected):
        await read_all(response)


async def test_a_body_shorter_than_promised_is_a_lost_connection(transport: Any, raw: Any) -> None:
    raw.script = raw.pieces(raw.head(content_length="10"), b"abc", then="close")
    response = await transport.endpoint(raw.url, {}, QUICK).post(b"{}", HEADERS)
    with pytest.raises(Disconnected):
        await read_all(response)


@pytest.mark.parametrize(
    "garbage", [b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", b"\x00\x01\x02\r\n\r\n", b"SSH-2.0\r\n\r\n"]
)
async def test_what_is_no_http_is_an_error(transport: Any, raw: Any, garbage: bytes) -> None:
    raw.script = raw.pieces(garbage, then="close")
    with pytest.raises(TransportError):
        await transport.endpoint(raw.url, {}, QUICK).post(b"{}", HEADERS)


async def test_an_error_does_not_tell_the_query_of_an_address(transport: Any, raw: Any) -> None:
    raw.script = raw.pieces(b"HTTP/1.1 200 OK\r\ncontent-length: abc\r\n\r\n")
    endpoint = transport.endpoint(raw.url, {"key": "se/cr+et="}, QUICK)
    with pytest.raises(TransportError) as caught:
        await endpoint.post(b"{}", HEADERS)
    assert "se/cr" not in str(caught.value)


async def test_a_broken_chunk_is_an_error(transport: Any, raw: Any) -> None:
    raw.script = raw.pieces(raw.stream()[0], b"zz\r\nabc\r\n", then="hang")
    response = await transport.endpoint(raw.url, {}, Timeouts()).post(b"{}", HEADERS)
    with pytest.raises(Disconnected), anyio.fail_after(3):
        await read_all(response)


async def test_aborting_closes_the_connection_at_once(transport: Any, raw: Any) -> None:
    raw.script = raw.pieces(*raw.stream(b"a")[:-1], then="hang")
    response = await transport.endpoint(raw.url, {}, QUICK).post(b"{}", HEADERS)
    await response.abort()
    with anyio.fail_after(0.1):
        await raw.connections[0].gone.wait()


async def test_closing_the_transport_closes_what_still_lingers(transport: Any, raw: Any) -> None:
    raw.script = raw.pieces(*raw.stream(b"a")[:-1], then="hang")
    response = await transport.endpoint(raw.url, {}, QUICK).post(b"{}", HEADERS)
    await response.finish()
    await transport.aclose()
    with anyio.fail_after(0.1):
        await raw.connections[0].gone.wait()


async def test_many_calls_at_once_have_a_connection_each(transport: Any, raw: Any) -> None:
    waiting = 0
    everybody = anyio.Event()

    async def script(_: Any, connection: Any) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 150:
            everybody.set()
        await everybody.wait()
        await connection.send(raw.whole(b"x"))

    raw.script = script
    endpoint = transport.endpoint(raw.url, {}, Timeouts())

    async def call() -> None:
        await read_all(await endpoint.post(b"{}", HEADERS))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(150):
                tasks.start_soon(call)
    assert waiting == 150


async def test_proxies_of_the_environment_are_not_used(
    transport_kind: str, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    opened = KINDS[transport_kind]()
    assert await read_all(await opened.endpoint(raw.url, {}, QUICK).post(b"{}", HEADERS))
    await opened.aclose()


async def test_a_configured_proxy_is_asked_with_its_credentials(
    transport_kind: str, raw: Any
) -> None:
    proxy = raw.url.replace("http://", "http://user:pass@").removesuffix("/v1")
    opened = KINDS[transport_kind](proxy=proxy)
    response = await opened.endpoint("http://far.invalid/v1", {}, QUICK).post(b"{}", HEADERS)
    assert await read_all(response)
    assert raw.requests[0].path == "http://far.invalid/v1"
    assert raw.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"
    assert "authorization" not in raw.requests[0].headers
    await opened.aclose()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of its own authority for 127.0.0.1; skips where no openssl is installed."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=moa", "-keyout", str(file) + ".key"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(file)]
    try:
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - fixed words
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return file


async def test_a_ca_file_is_trusted_and_nothing_is_trusted_without_it(
    transport_kind: str, certificate: Path
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx")
        await writer.drain()
        await reader.read()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, str(certificate) + ".key")
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    trusting = KINDS[transport_kind](tls_context(str(certificate)))
    wary = KINDS[transport_kind]()
    timeouts = Timeouts(connect=5, first_token=5, idle=5)
    async with server:
        response = await trusting.endpoint(url, {}, timeouts).post(b"{}", HEADERS)
        assert await read_all(response) == b"x"
        with pytest.raises(NotConnected):
            await wary.endpoint(url, {}, timeouts).post(b"{}", HEADERS)
        await trusting.aclose()
        await wary.aclose()
        await asyncio.sleep(0.05)


async def test_httpx_takes_a_mock_in_place_of_the_network() -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=request.url.path.encode())

    transport = HttpxTransport(inner=httpx.MockTransport(answer))
    response = await transport.endpoint("http://x/v1", {}, QUICK).post(b"{}", HEADERS)
    assert await read_all(response) == b"/v1"
