"""Many clients of real servers at once, and what each of them was told.

Every request has a text of its own, by which it is found in the log of the fake upstream.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import anyio
import httpx

from app.access.money import to_pico
from app.upstream.fake_log import Asked, Ending
from app.upstream.fake_server import Reply

CONFIG = """\
upstreams:
  fake: {{base_url: "{base_url}", retries: 0, breaker: off}}
models:
  a: {{upstream: fake, model: a-up, max_output: 50, price: {{input: 1, output: 2}}}}
  b: {{upstream: fake, model: b-up, max_output: 50, price: {{input: 1, output: 2}}}}
graphs:
  duo: {{layers: [{{proposers: [a, b]}}], aggregator: a}}
  kept: {{layers: [{{proposers: [a, b]}}], aggregator: a, cache: {{ttl: 10m}}}}
"""
CAP = 50
"""Tokens a client lets a model write."""
BILLED = Reply(first=0.02, prompt_tokens=100, completion_tokens=40)
"""What the upstream answers and bills for each call: less than is set aside for it."""
PER_CALL = to_pico((Decimal(100) * 1 + Decimal(40) * 2) / 10**6)
"""Picodollars of one call."""
WORDS = " and so on" * 60
"""Behind each text, so that its prompt is estimated at more than the upstream bills."""
PATIENCE = 60.0
NO_ANSWER = 0
_TEXT = re.compile(rb"ask-[0-9a-z-]+")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client was told; times are `time.monotonic()`, status 0: the connection broke."""

    text: str
    status: int
    began: float
    ended: float
    code: str | None = None
    run_id: str | None = None
    retry_after: str | None = None

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def bearing(url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
    return httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=limits, trust_env=False)


async def ask(
    client: httpx.AsyncClient, secret: str, text: str, *, model: str = "a", **fields: object
) -> Answer:
    """One chat request; `text` begins with `ask-`."""
    body = {**body_of(text), "model": model, **fields}
    began = time.monotonic()
    try:
        headers = {"authorization": f"Bearer {secret}"}
        answer = await client.post("/v1/chat/completions", json=body, headers=headers)
    except httpx.TransportError:
        return Answer(text, NO_ANSWER, began, time.monotonic())
    return _told(text, began, answer)


async def until(reached: Callable[[], Awaitable[bool]], patience: float = PATIENCE) -> None:
    """Look until it is so; TimeoutError after `patience` seconds."""
    with anyio.fail_after(patience):
        while not await reached():  # noqa: ASYNC110 (another process tells nobody)
            await anyio.sleep(0.01)


def body_of(text: str) -> dict[str, Any]:
    message = {"role": "user", "content": text + WORDS}
    return {"model": "a", "max_tokens": CAP, "messages": [message]}


def _told(text: str, began: float, answer: httpx.Response) -> Answer:
    code = answer.json()["error"]["code"] if answer.status_code != httpx.codes.OK else None
    headers = answer.headers
    return Answer(
        text,
        answer.status_code,
        began,
        time.monotonic(),
        code,
        headers.get("x-moa-run-id"),
        headers.get("retry-after"),
    )


def text_of(asked: Asked) -> str:
    found = _TEXT.search(asked.raw_body)
    assert found is not None
    return found[0].decode()


def billed(entries: Iterable[Asked]) -> Mapping[str, int]:
    """Picodollars by the text of the request, for every call that was answered to its end."""
    sums: dict[str, int] = defaultdict(int)
    for each in entries:
        sums[text_of(each)] += PER_CALL if each.ending is Ending.ANSWERED else 0
    return sums


def made(client: httpx.Client, path: str, **body: Any) -> Any:
    """A key or a team, made over the admin API."""
    answer = client.post(path, json=body)
    assert answer.status_code == httpx.codes.OK, answer.text
    return answer.json()
