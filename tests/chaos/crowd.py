"""The clients: what each asks, when it leaves, and what it makes of its answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import aiohttp
import orjson

from app.protocol.json_types import JsonObject
from tests.chaos.faults import Written, drawn, written
from tests.chaos.setting import ALL_PROPER, DEADLINE, DECLARED, WRITERS

ERRORS = frozenset({429, 502, 503, 504})
"""The statuses a failing upstream may end in: never a 400, which blames the client, nor a 500."""


class End(StrEnum):
    """How a request ended, from the client's side."""

    ANSWER = "answer"
    DEGRADED = "degraded"
    STATUS = "error status"
    EVENT = "error event"
    LEFT = "client left"
    LIE = "LIE"


@dataclass(slots=True)
class Request:
    """One request and what came of it. Times are `time.monotonic()`."""

    name: str
    model: str
    stream: bool
    leaves_after: float | None = None
    starts_after: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    end: End = End.LIE
    status: int = 0
    text: str = ""
    source: Written | None = None
    degraded: tuple[str, ...] = ()
    usage: JsonObject | None = None
    flaws: list[str] = field(default_factory=list)

    @property
    def took(self) -> float:
        """Seconds from the first byte sent to the last one read."""
        return self.ended - self.started


def crowd(seed: str, first: int, size: int, *, spread: float = 1.0) -> list[Request]:
    """`size` requests that start within `spread` seconds; a sixth of their clients leave."""
    rng = drawn(seed, "crowd", first)
    names = list(WRITERS)
    weights = [1.0 if name not in {"refused", "wild-2"} else 0.3 for name in names]
    return [
        Request(
            f"r{first + number}",
            rng.choices(names, weights)[0],
            rng.random() < 0.5,
            rng.uniform(0.0, 0.5) if rng.random() < 1 / 6 else None,
            rng.uniform(0.0, spread),
        )
        for number in range(size)
    ]


async def ask_all(url: str, requests: list[Request]) -> None:
    """Ask them all at once, and return when the last one has ended."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=4 * DEADLINE)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
        asyncio.TaskGroup() as tasks,
    ):
        for request in requests:
            tasks.create_task(_ask(session, url, request))


async def _ask(session: aiohttp.ClientSession, url: str, request: Request) -> None:
    await asyncio.sleep(request.starts_after)
    request.started = time.monotonic()
    body: JsonObject = {
        "model": request.model,
        "messages": [{"role": "user", "content": f"This is question {request.name}"}],
        "stream": request.stream,
        "moa": {"timeout": DEADLINE, "include": ["run"]},
    }
    if request.stream:
        body["stream_options"] = {"include_usage": True}
    try:
        async with (
            asyncio.timeout(request.leaves_after),
            session.post(f"{url}/chat/completions", json=body) as response,
        ):
            request.status = response.status
            raw = await response.read()
            request.ended = time.monotonic()
            judge(request, response.headers, raw)
    except TimeoutError as error:
        request.ended = time.monotonic()
        request.end = End.LEFT
        if request.leaves_after is None:
            request.end = End.LIE
            request.flaws.append(f"no end in {request.took:.1f} s: {error!r}")
    except (aiohttp.ClientError, ValueError, KeyError, TypeError) as error:
        request.ended = time.monotonic()
        request.flaws.append(f"unreadable: {error!r}"[:500])
    if request.flaws:
        request.end = End.LIE


def judge(request: Request, headers: Mapping[str, str], raw: bytes) -> None:
    """Say how the request ended, and what is wrong with its answer. Raises ValueError."""
    if request.status != 200:
        _judge_error(request, headers, orjson.loads(raw))
    elif request.stream:
        _judge_stream(request, raw)
    else:
        body = orjson.loads(raw)
        [choice] = body["choices"]
        _judge_answer(
            request, str(choice["message"]["content"] or ""), choice["finish_reason"], body
        )


def _judge_error(request: Request, headers: Mapping[str, str], body: JsonObject) -> None:
    request.end = End.STATUS
    if request.status not in ERRORS:
        request.flaws.append(f"status {request.status}: {body}"[:500])
    elif not body["error"]["message"]:
        request.flaws.append("an error without words")
    if request.status == 429 and "retry-after" not in headers:
        request.degraded = ("no retry-after",)


def _judge_stream(request: Request, raw: bytes) -> None:
    """Either all of an answer, its reason, usage and `[DONE]`; or an error event at the end."""
    blocks = [block for block in raw.decode().split("\n\n") if block.startswith("data: ")]
    payloads = [block.removeprefix("data: ") for block in blocks]
    done = payloads[-1:] == ["[DONE]"]
    chunks: list[JsonObject] = [orjson.loads(each) for each in payloads if each != "[DONE]"]
    choices = [choice for chunk in chunks for choice in chunk.get("choices", ())]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    reasons = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    if chunks and "error" in chunks[-1]:
        request.end, request.text = End.EVENT, text
        request.source = written(text, request.name)
        if done or reasons:
            request.flaws.append(f"an error after {reasons}, [DONE]: {done}")
        if chunks[-1]["error"].get("code") == "internal_error":
            request.flaws.append(f"{chunks[-1]}"[:500])
        return
    if not done or len(reasons) != 1:
        request.flaws.append(f"ended with {reasons}, [DONE]: {done}, after {text[-200:]!r}")
    last: JsonObject = {}
    for chunk in chunks:
        last |= {name: value for name, value in chunk.items() if name in {"usage", "moa"}}
    _judge_answer(request, text, reasons[0] if reasons else None, last)


def _judge_answer(request: Request, text: str, reason: object, body: JsonObject) -> None:
    request.text, request.usage = text, body["usage"]
    request.degraded = tuple(body.get("moa", {}).get("degraded", ()))
    request.end = End.DEGRADED if request.degraded else End.ANSWER
    request.source = source = written(text, request.name)
    if source is None:  # whether its upstream said no more is in the books
        return
    if reason != "stop" or not source.is_whole:
        request.flaws.append(f"a fake stop ({reason}) after {text[-200:]!r}")
    _check_writer(request, source.model)


def _check_writer(request: Request, model: str) -> None:
    writers = WRITERS[request.model]
    proper = set(writers) if request.model in ALL_PROPER else set(writers[:1])
    proper -= DECLARED.get(request.model, frozenset())
    if model not in writers:
        request.flaws.append(f"{model} has nothing to say here")
    elif model not in proper and not request.degraded:
        request.flaws.append(f"written by {model}, and it is not declared")
