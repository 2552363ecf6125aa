"""What the fake upstream was asked and what became of each stream; readable from any thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

import anyio.to_thread
import orjson

from app.protocol.json_types import JsonObject


class Ending(StrEnum):
    """How an exchange ended; `aborted`: the client left before the end."""

    OPEN = "open"
    ANSWERED = "answered"
    ABORTED = "aborted"
    CUT = "cut"


@dataclass(slots=True)
class Asked:
    """One request. Times are `time.monotonic()`; `events` is how many were written."""

    path: str
    raw_headers: Sequence[tuple[bytes, bytes]]
    raw_body: bytes
    started: float = field(default_factory=time.monotonic)
    events: int = 0
    ended: float | None = None
    ending: Ending = Ending.OPEN

    @property
    def headers(self) -> dict[str, str]:
        """Names in lower case."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.raw_headers}

    @property
    def body(self) -> JsonObject:
        """The parsed body; ValueError if it is no JSON."""
        body: JsonObject = orjson.loads(self.raw_body)
        return body

    @property
    def model(self) -> str:
        """The model asked for."""
        return str(self.body["model"])

    def to_json(self) -> JsonObject:
        """As `GET /fake/log` shows it."""
        try:
            body: JsonObject | str = self.body
        except ValueError:
            body = self.raw_body.decode("utf-8", "replace")
        return {
            "path": self.path,
            "headers": self.headers,
            "body": body,
            "started": self.started,
            "events": self.events,
            "ended": self.ended,
            "ending": self.ending,
        }


class Log:
    """The last `size` exchanges, oldest first. One thread writes, any may read and wait."""

    def __init__(self, size: int) -> None:
        self._entries: deque[Asked] = deque(maxlen=size)
        self._changed = threading.Condition()

    @property
    def entries(self) -> list[Asked]:
        """What was asked so far, oldest first."""
        with self._changed:
            return list(self._entries)

    def open(self, asked: Asked) -> None:
        """Write down a request."""
        with self._changed:
            self._entries.append(asked)
            self._changed.notify_all()

    def wrote(self, asked: Asked, events: int) -> None:
        """So many more events went out."""
        with self._changed:
            asked.events += events
            self._changed.notify_all()

    def close(self, asked: Asked, ending: Ending) -> None:
        """The exchange is over; the first ending counts."""
        with self._changed:
            if asked.ended is None:
                asked.ended, asked.ending = time.monotonic(), ending
            self._changed.notify_all()

    def clear(self) -> None:
        """Forget everything."""
        with self._changed:
            self._entries.clear()

    def wait(self, reached: Callable[[list[Asked]], bool], patience: float = 10.0) -> None:
        """Block until the entries satisfy `reached`; TimeoutError after `patience` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: reached(list(self._entries)), patience):
                endings = [f"{asked.ending} after {asked.events}" for asked in self._entries]
                raise TimeoutError(f"not reached in {patience} s; the log has {endings}")

    async def reached(self, reached: Callable[[list[Asked]], bool], patience: float = 10.0) -> None:
        """`wait` for coroutines: the loop goes on meanwhile."""
        await anyio.to_thread.run_sync(partial(self.wait, reached, patience))
