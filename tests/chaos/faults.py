"""Which upstream call goes wrong and how: drawn by seed, request, model and attempt, and kept.

Every answer is a row of words that name their model, request, call and place, so an answer with
a gap, or one put together from two, can be told from a whole one.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType

from app.protocol.json_types import JsonObject
from app.upstream.fake_server import Reply

WORD = re.compile(r"w\.([a-z0-9-]+)\.(r\d+)\.(\d+)\.(\d+)\.(\d+) ?")
QUESTION = re.compile(r"question (r\d+)\b")
BURST = 25
"""Requests in a row that may all meet the same busy upstream."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`share` is how often it is drawn, against 1 for most of them: some cost the bench more."""

    script: Mapping[str, object]
    share: float = 1.0


FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "reset before the head": Fault({"then": "reset", "after": -1}),
        "reset in the head": Fault({"then": "reset", "after": -1, "half_head": True}),
        "reset in the body": Fault({"then": "reset", "after": 2}),
        "closed before the head": Fault({"then": "cut", "after": -1}),
        "closed in the head": Fault({"then": "cut", "after": -1, "half_head": True}),
        "closed in the body": Fault({"then": "cut", "after": 2}),
        "hang before the head": Fault({"then": "hang", "after": -1}),
        "hang in the head": Fault({"then": "hang", "after": -1, "half_head": True}),
        "hang before the first token": Fault({"then": "hang", "after": 0}),
        "hang in the body": Fault({"then": "hang", "after": 2}),
        "429 with retry-after": Fault({"status": 429, "retry_after": "1"}),
        "429 without": Fault({"status": 429}),
        "500": Fault({"status": 500}),
        "not HTTP": Fault({"then": "noise", "after": -1}),
        "not HTTP in the body": Fault({"then": "noise", "after": 2}),
        "broken JSON": Fault({"then": "garbage", "after": 2}),
        "half an event": Fault({"then": "half", "after": 2}),
        "a neat end too early": Fault({"then": "end", "after": 2}),
        "no finish reason, no [DONE]": Fault({"finish": "", "done": False}),
        "error inside a 200": Fault({"then": "error", "after": 2}),
        "error as a 200": Fault({"then": "error", "after": 0}),
        "a page with status 200": Fault({"body": "<html>We are sorry</html>"}),
        "wrong content type": Fault({"content_type": "image/png"}),
        "no answer at all": Fault({"text": ""}),
        "slow drip": Fault({"split": 1, "every": 0.001}, 0.3),
        "gzip bomb": Fault({"flood": "gzip", "megabytes": 2_000}, 0.15),
        "50 MB line": Fault({"flood": "line", "megabytes": 50}, 0.15),
    }
)
HARMLESS = frozenset({"none", "wrong content type", "slow drip", "no answer at all"})
"""What leaves the answer whole, if only a whole nothing."""
HARMLESS_UNSTREAMED = HARMLESS | {"no finish reason, no [DONE]"}


@dataclass(frozen=True, slots=True)
class Planned:
    """One upstream call as the fake plays it; `serial` is its number and its prompt's tokens."""

    serial: int
    request: str
    model: str
    fault: str
    stream: bool

    @property
    def is_whole(self) -> bool:
        """Whether its answer is one."""
        return self.fault in (HARMLESS if self.stream else HARMLESS_UNSTREAMED)


def drawn(*key: object) -> random.Random:
    """The same numbers for the same key, in whatever order things happen."""
    return random.Random("/".join(map(str, key)))  # noqa: S311 - a seed that can be repeated


class Plan:
    """Answers for the fake upstream's models. `rates`: how often each of them fails.

    All mutable state: `calls` played so far, `lies` found in what the gateway sent, `calm` once no
    call is to fail any more. Used by the fake's thread alone until the requests are over.
    """

    def __init__(self, seed: str, rates: Mapping[str, float]) -> None:
        self.calls: list[Planned] = []
        self.lies: list[str] = []
        self.calm = False
        self._seed = seed
        self._rates = rates
        self._serials = count(1)
        self._attempts: Counter[tuple[str, str]] = Counter()

    def reply(self, body: JsonObject) -> Reply:
        """What the fake sends for a request with this body."""
        model, text = str(body["model"]), _texts(body)
        asked = QUESTION.search(text)
        request = asked[1] if asked else "r0"
        self.lies += (f"{request} shows {model} {flaw}" for flaw in flaws(text, request))
        serial = next(self._serials)
        self._attempts[request, model] += 1
        rng = drawn(self._seed, request, model, self._attempts[request, model])
        fault = self._draw(rng, request, model)
        self.calls.append(Planned(serial, request, model, fault, body.get("stream") is True))
        length = rng.randint(3, 12)
        words = (f"w.{model}.{request}.{serial}.{n}.{length}" for n in range(1, length + 1))
        script = {
            "text": " ".join(words),
            "first": rng.choice((0.0, 0.01, 0.05)),
            "every": rng.choice((0.0, 0.0, 0.005)),
            "prompt_tokens": serial,
        }
        if fault != "none":
            script |= FAULTS[fault].script
        return Reply.model_validate(script)

    def forget(self) -> None:
        """Start anew with the next request; only while none is under way."""
        self.calls.clear()
        self.lies.clear()
        self._attempts.clear()

    def _draw(self, rng: random.Random, request: str, model: str) -> str:
        rate = 0.0 if self.calm else self._rates.get(model, 0.0)
        window = int(request[1:]) // BURST
        if rate and drawn(self._seed, model, window).random() < rate / 4:
            return "429 with retry-after"
        if rng.random() >= rate:
            return "none"
        shares = [fault.share for fault in FAULTS.values()]
        return rng.choices(list(FAULTS), shares)[0]


def _texts(body: JsonObject) -> str:
    return "\n".join(str(message.get("content")) for message in body["messages"])


def flaws(text: str, request: str) -> list[str]:
    """What is wrong with the answers in a text: one of another request, or one with a gap."""
    found: dict[tuple[str, str, str], set[int]] = {}
    lengths: dict[tuple[str, str, str], int] = {}
    for model, asked, serial, place, length in WORD.findall(text):
        found.setdefault((model, asked, serial), set()).add(int(place))
        lengths[model, asked, serial] = int(length)
    strangers = [f"an answer of {key}" for key in found if key[1] != request]
    gaps = [
        f"a part of {key}: {sorted(places)} of {lengths[key]}"
        for key, places in found.items()
        if places != set(range(1, lengths[key] + 1))
    ]
    return strangers + gaps


@dataclass(frozen=True, slots=True)
class Written:
    """Whose answer a text is, and whether all of it is there."""

    model: str
    serial: int
    is_whole: bool


def written(text: str, request: str) -> Written | None:
    """The one answer that a text is a beginning of; None for no text. Raises ValueError."""
    if not text:
        return None
    words: Iterable[tuple[str, ...]] = WORD.findall(text)
    if WORD.sub("", text):
        raise ValueError(f"words nobody wrote: {text[:200]!r}")
    sources = {(model, asked, serial, length) for model, asked, serial, _, length in words}
    if len(sources) != 1:
        raise ValueError(f"mixed from {sorted(sources)}")
    [(model, asked, serial, length)] = sources
    places = [int(word[3]) for word in words]
    if asked != request or places != list(range(1, len(places) + 1)):
        raise ValueError(f"not the answer of {request}, or one with gaps: {text[:200]!r}")
    return Written(model, int(serial), len(places) == int(length))
