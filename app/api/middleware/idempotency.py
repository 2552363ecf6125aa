"""`Idempotency-Key`: a repeated request joins the one under way, or gets its answer again.

It works on whole responses, so every POST that calls a model has it. Streams do not: theirs has
begun within seconds, so no client gives up on it, and what has gone out once is not kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import anyio
import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access.caller import Right
from app.api import exchange
from app.api.body import read_body
from app.api.services import services
from app.errors import InternalError, InvalidRequest
from app.serving.idempotency import Flight, Repeats, Reply, fingerprint_of

_KEY = re.compile(rb"[\x21-\x7e]{1,255}")


class Idempotency:
    """Raises InvalidRequest for a key that is none, IdempotencyKeyReused for another's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, unless its answer comes from an earlier one."""
        key = _key(scope)
        # The answers of an administrator have secrets in them, which are kept nowhere.
        if key is None or exchange.current(scope).need is not Right.CALL:
            await self._app(scope, receive, send)
            return
        own, here = services(scope), exchange.current(scope)
        body = await read_body(receive, own.body_patience)
        if body is None:
            here.client_left = True
        elif _is_streamed(body):
            await self._app(scope, _Replayed(body, receive), send)
        else:
            name = _Named(own.repeats, here.caller, key, _fingerprint(scope, body))
            await self._once(name, body, scope, receive, send)

    async def _once(
        self, name: _Named, body: bytes, scope: Scope, receive: Receive, send: Send
    ) -> None:
        while True:
            found = await name.find()
            if found is None:
                await self._lead(name, body, scope, receive, send)
                return
            if isinstance(found, Flight):
                if await _left_while_waiting(found, receive):
                    exchange.current(scope).client_left = True
                    return
                found = _reply_of(found)
            if found is not None:
                await _send_again(found, send)
                return

    async def _lead(
        self, name: _Named, body: bytes, scope: Scope, receive: Receive, send: Send
    ) -> None:
        repeats = name.repeats
        with repeats.flight(name.caller, name.key, name.fingerprint) as flight:
            patient = _Patient(flight, _Replayed(body, receive), repeats.patience)
            recorder = _Recorder(send)
            try:
                await self._app(scope, patient, recorder)
            except Exception as failure:
                flight.failure = failure
                raise
            finally:
                # Only now: who writes an answer looks at it, and the others want theirs.
                exchange.current(scope).client_left |= patient.client_left
            flight.reply = recorder.reply
            await repeats.keep(name.caller, name.key, flight)


@dataclass(frozen=True, slots=True)
class _Named:
    """One request of a client's, by its key and its content."""

    repeats: Repeats
    caller: str
    key: str
    fingerprint: bytes

    async def find(self) -> Reply | Flight | None:
        return await self.repeats.find(self.caller, self.key, self.fingerprint)


class _Replayed:
    """A `Receive` whose body has been read already. All mutable state: whether it was given."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body, self._receive = body, receive
        self._is_given = False

    async def __call__(self) -> Message:
        if self._is_given:
            return await self._receive()
        self._is_given = True
        return {"type": "http.request", "body": self._body, "more_body": False}


class _Patient:
    """A `Receive` that tells of the client's leaving once nobody else waits for the answer.

    All mutable state: whether this request's own client has left.
    """

    def __init__(self, flight: Flight, receive: Receive, patience: float) -> None:
        self._flight, self._receive, self._patience = flight, receive, patience
        self.client_left = False

    async def __call__(self) -> Message:
        with self._flight.waited_for():
            message = await self._receive()
        if message["type"] == "http.disconnect":
            self.client_left = True
            await self._flight.abandoned(self._patience)
        return message


class _Recorder:
    """A `Send` that remembers a whole response. All mutable state: its parts so far."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._is_whole = False

    @property
    def reply(self) -> Reply | None:
        """The response, once it is whole."""
        if not self._is_whole:
            return None
        return Reply(self._status, self._headers, b"".join(self._body))

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            pairs = message.get("headers", ())
            self._headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in pairs}
        else:
            self._body.append(message.get("body", b""))
            self._is_whole = not message.get("more_body")
        await self._send(message)


def _key(scope: Scope) -> str | None:
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    given = exchange.header(scope, b"idempotency-key")
    if given is None:
        return None
    if not _KEY.fullmatch(given):
        raise InvalidRequest(
            "The Idempotency-Key must be 1 to 255 visible ASCII characters", param="Idempotency-Key"
        )
    return given.decode()


def _fingerprint(scope: Scope, body: bytes) -> bytes:
    return fingerprint_of(scope["path"].encode(), scope["query_string"], body)


def _is_streamed(body: bytes) -> bool:
    if b'"stream"' not in body and b"\\u" not in body:  # a name may be written in escapes
        return False
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(data, dict) and data.get("stream") is True


async def _left_while_waiting(flight: Flight, receive: Receive) -> bool:
    """Wait for the flight's end; whether the client left before it."""
    left = False

    async def watch() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        left = True
        tasks.cancel_scope.cancel()

    with flight.waited_for():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await flight.landed.wait()
            tasks.cancel_scope.cancel()
    return left and not flight.landed.is_set()


def _reply_of(flight: Flight) -> Reply | None:
    """What a flight that is over came to; None where it ended without an answer."""
    if flight.failure is not None:
        raise InternalError("The gateway failed in the request that this one repeats")
    return flight.reply


async def _send_again(reply: Reply, send: Send) -> None:
    pairs = {**reply.headers, "idempotent-replayed": "true"}
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
