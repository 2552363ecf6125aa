"""A scripted OpenAI-compatible upstream: `FakeUpstream` is a plain ASGI app, `serve` a socket.

It plays what `fake_reply` describes and `fake_wire` renders, and writes down what it was asked and
which streams the client left. `python -m app.upstream.fake_server --port N` runs it alone: any
model name answers, and a query string behind the name scripts the answer, as in
`any?tokens=64&every=20ms` or `any?status=429&retry_after=2`. `GET /fake/log` shows what was asked,
`DELETE /fake/log` forgets it, `POST /fake/gate` opens the gate for all that wait at it.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import anyio
import orjson
import uvicorn

from app.errors import InvalidRequest
from app.protocol.json_types import JsonObject
from app.upstream.fake_embedding import embedding_reply
from app.upstream.fake_exchange import Exchange, Message, Receive, Send
from app.upstream.fake_log import Asked, Ending, Log
from app.upstream.fake_reply import Reply, read_model
from app.upstream.fake_wire import Rendered, Shape, Write, error_body, render

__all__ = ["Asked", "Ending", "FakeUpstream", "Reply", "running"]

Answer: TypeAlias = Reply | Callable[[JsonObject], Reply]
"""A reply, or a function of the request's body."""

CACHE_SIZE = 1_000
JSON = ((b"content-type", b"application/json"),)
PLAIN = Reply()


class _Rendering(NamedTuple):
    answer: Answer
    reply: Reply
    response: Rendered


class FakeUpstream:
    """A scripted upstream. `replies` says what each model answers and may change at any time.

    `default` answers for models without a reply; None: they are not found. `log` keeps the last
    `log_size` requests. `base_url` is set by `running`.
    """

    def __init__(
        self,
        replies: MutableMapping[str, Answer] | None = None,
        *,
        default: Answer | None = PLAIN,
        log_size: int = 1_000,
    ) -> None:
        self.replies: MutableMapping[str, Answer] = {} if replies is None else replies
        self.default = default
        self.log = Log(log_size)
        self.base_url = ""
        self._gate = anyio.Event()
        self._rendered: dict[Shape, _Rendering] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request; the ASGI entry."""
        match scope["method"], scope["path"]:
            case "POST", path if path.endswith("/chat/completions"):
                await self._play(scope, receive, send, self._respond)
            case "POST", path if path.endswith("/embeddings"):
                await self._play(scope, receive, send, self._embed)
            case "GET", path if path.endswith("/models"):
                await _send_json(send, 200, self._models())
            case "GET", "/fake/log":
                entries = [asked.to_json() for asked in self.log.entries]
                await _send_json(send, 200, {"asked": entries})
            case "DELETE", "/fake/log":
                self.log.clear()
                await _send_json(send, 200, {})
            case "POST", "/fake/gate":
                self._open_gate()
                await _send_json(send, 200, {})
            case _:
                await _send_json(send, 404, error_body("no such address", "unknown_url"))

    def reset(self) -> None:
        """Forget all replies and requests."""
        self.replies.clear()
        self.log.clear()

    def open_gate(self) -> None:
        """Let go on whoever waits at `then=gate`; from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._open_gate)

    def _open_gate(self) -> None:
        gate, self._gate = self._gate, anyio.Event()
        gate.set()

    async def _play(
        self, scope: Message, receive: Receive, send: Send, respond: Callable[[bytes], Rendered]
    ) -> None:
        body = await _read_body(receive)
        asked = Asked(scope["path"], scope["headers"], body)
        self.log.open(asked)
        self._loop = self._loop or asyncio.get_running_loop()
        exchange = Exchange(asked, self.log, receive, send, lambda: self._gate)
        await exchange.play(respond(body))

    def _respond(self, body: bytes) -> Rendered:
        try:
            call: JsonObject = orjson.loads(body)
            rendering = self._render(call, _shape(call))
        except InvalidRequest as error:
            return _refuse(error.message, error.param)
        except (ValueError, KeyError, TypeError, AttributeError):
            return _refuse("the body is no chat request")
        if rendering is None:
            return _refuse("no such model", "model", status=404)
        if rendering.reply.strict_roles and _has_users_in_a_row(call["messages"]):
            return _refuse("conversation roles must alternate user/assistant", "messages")
        return rendering.response

    def _render(self, call: JsonObject, shape: Shape) -> _Rendering | None:
        answer = self.replies.get(shape.model.partition("?")[0], self.default)
        known = self._rendered.get(shape)
        if known is not None and known.answer is answer:
            return known
        if answer is None:
            return None
        reply = read_model(shape.model, answer if isinstance(answer, Reply) else answer(call))
        rendering = _Rendering(answer, reply, render(reply, shape))
        if isinstance(answer, Reply):
            if len(self._rendered) >= CACHE_SIZE:
                self._rendered.clear()
            self._rendered[shape] = rendering
        return rendering

    def _embed(self, body: bytes) -> Rendered:
        try:
            call: JsonObject = orjson.loads(body)
            model = str(call["model"])
            answer = self.replies.get(model.partition("?")[0], self.default)
            if answer is None:
                return _refuse("no such model", "model", status=404)
            reply = read_model(model, answer if isinstance(answer, Reply) else answer(call))
            return render(embedding_reply(call, reply), Shape(model))
        except InvalidRequest as error:
            return _refuse(error.message, error.param)
        except (ValueError, KeyError, TypeError, AttributeError):
            return _refuse("the body asks for no embeddings")

    def _models(self) -> JsonObject:
        models = [{"id": name, "object": "model", "owned_by": "fake"} for name in self.replies]
        return {"object": "list", "data": models}


def _shape(call: JsonObject) -> Shape:
    options = call.get("stream_options") or {}
    include_usage = options.get("include_usage") is True
    return Shape(str(call["model"]), call.get("stream") is True, include_usage, call.get("n") or 1)


def _has_users_in_a_row(messages: list[JsonObject]) -> bool:
    roles = [message["role"] for message in messages]
    return ("user", "user") in pairwise(roles)


def _refuse(message: str, param: str | None = None, *, status: int = 400) -> Rendered:
    body = orjson.dumps(error_body(message, param=param))
    return Rendered(status, list(JSON), rest=(Write(0, body),))


async def _read_body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body


async def _send_json(send: Send, status: int, value: JsonObject) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(JSON)})
    await send({"type": "http.response.body", "body": orjson.dumps(value)})


def listen(port: int = 0) -> socket.socket:
    """A listening loopback socket; 0 picks a free port. Clients may connect before it is served."""
    return socket.create_server(("127.0.0.1", port), backlog=2_048)


def build_server(app: FakeUpstream) -> uvicorn.Server:
    """The server for it: as fast as it gets, and silent."""
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="critical",
        lifespan="off",
        date_header=False,
        server_header=False,
        timeout_keep_alive=300,
    )
    server = uvicorn.Server(config)
    server.force_exit = True
    return server


@contextmanager
def running(app: FakeUpstream, port: int = 0) -> Iterator[FakeUpstream]:
    """Serve `app` from a thread on loopback; its `base_url` is set inside."""
    with listen(port) as listener:
        app.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        server = build_server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield app
        finally:
            server.should_exit = True
            thread.join()


def main() -> None:
    """Run it alone until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--log-size", type=int, default=1_000, help="requests kept; 0 keeps none")
    options = parser.parse_args()
    with listen(options.port) as listener:
        host, port = listener.getsockname()
        print(f"fake upstream at http://{host}:{port}/v1", flush=True)  # noqa: T201 - a command
        build_server(FakeUpstream(log_size=options.log_size)).run(sockets=[listener])


if __name__ == "__main__":
    main()
