"""Requests that a client may repeat without paying twice: `Idempotency-Key`.

While a keyed request is under way, its repetitions wait for the same answer; a good answer is
kept for a while and given again. Knows no HTTP: an answer is status, headers and body.

The header: draft-ietf-httpapi-idempotency-key-header-07. What is under way is known to this process
alone, what is kept to all that share the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256

import anyio
import orjson

from app.errors import IdempotencyKeyReused
from app.interfaces import Cache

KEPT_FOR = 600.0
"""Seconds a good answer is given again."""
PATIENCE = 10.0
"""Seconds a run goes on for nobody: OpenAI's SDKs wait up to 8 s before they try again."""
MAX_KEPT = 4 * 1024 * 1024
"""Bytes of the largest answer that is kept."""
_VERSION = "idempotent:1:"


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer as it went out, to be sent again."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Flight:
    """A keyed request under way, for as many clients as wait for it.

    All mutable state: the reply once there is one, `landed` when it is over with or without one,
    `failure` where it ended in a bug, and who waits.
    """

    fingerprint: bytes
    reply: Reply | None = None
    failure: Exception | None = None
    landed: anyio.Event = field(default_factory=anyio.Event)
    _waiting: int = 0
    _changed: anyio.Event = field(default_factory=anyio.Event)

    @contextmanager
    def waited_for(self) -> Iterator[None]:
        """A client waits for it inside."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    async def abandoned(self, patience: float = PATIENCE) -> None:
        """Return once nobody has waited for it for so many seconds."""
        while True:
            changed = self._changed
            with anyio.move_on_after(None if self._waiting else patience):
                await changed.wait()
            if not changed.is_set():
                return

    def _count(self, more: int) -> None:
        self._waiting += more
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


class Repeats:
    """Keyed requests under way, and the answers of those that are over.

    All mutable state: the flights by key.
    """

    def __init__(self, store: Cache, *, patience: float = PATIENCE) -> None:
        self._store = store
        self._flights: dict[str, Flight] = {}
        self.patience = patience

    async def find(self, caller: str, key: str, fingerprint: bytes) -> Reply | Flight | None:
        """The answer, or the request that it will come from; None: there was no such request.

        Raises IdempotencyKeyReused where the key belongs to another request.
        """
        place = _place(caller, key)
        kept = None if place in self._flights else await self._store.get(place)
        if kept is not None:
            known, reply = _read(kept)
            _compare(known, fingerprint)
            return reply
        flight = self._flights.get(place)
        if flight is not None:
            _compare(flight.fingerprint, fingerprint)
        return flight

    @contextmanager
    def flight(self, caller: str, key: str, fingerprint: bytes) -> Iterator[Flight]:
        """The request is under way inside, and over when this is left."""
        place, flight = _place(caller, key), Flight(fingerprint)
        self._flights[place] = flight
        try:
            yield flight
        finally:
            del self._flights[place]
            flight.landed.set()

    async def keep(self, caller: str, key: str, flight: Flight) -> None:
        """Keep the answer of a request that is over, if it is a good one."""
        reply = flight.reply
        if reply is not None and reply.status == 200 and len(reply.body) <= MAX_KEPT:  # noqa: PLR2004 - HTTP
            value = _written(flight.fingerprint, reply)
            await self._store.set(_place(caller, key), value, KEPT_FOR)


def fingerprint_of(*parts: bytes) -> bytes:
    """What tells two requests apart, whatever their key."""
    return sha256(b"".join(sha256(part).digest() for part in parts)).digest()


def _place(caller: str, key: str) -> str:
    return _VERSION + sha256(orjson.dumps([caller, key])).hexdigest()


def _compare(known: bytes, fingerprint: bytes) -> None:
    if known != fingerprint:
        raise IdempotencyKeyReused(
            "This Idempotency-Key belongs to another request: use a new key for each one",
            param="Idempotency-Key",
        )


def _written(fingerprint: bytes, reply: Reply) -> bytes:
    head = orjson.dumps([reply.status, dict(reply.headers)])
    return b"\n".join((fingerprint.hex().encode(), head, reply.body))


def _read(kept: bytes) -> tuple[bytes, Reply]:
    fingerprint, head, body = kept.split(b"\n", 2)
    status, headers = orjson.loads(head)
    return bytes.fromhex(fingerprint.decode()), Reply(status, headers, body)
