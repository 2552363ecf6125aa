"""Embeddings without a model, for tests and examples: texts that share words get near vectors.

`vector` is the same in every process; `FakeEmbedder` is a `FakeModel` that makes them, and what
`FakeUpstream` sends for `/embeddings` is written here as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from zlib import crc32

import anyio
import orjson

from app.errors import InvalidRequest
from app.protocol.json_types import JsonObject
from app.protocol.tokens import estimate_text
from app.protocol.usage import Usage
from app.record import Outcome, Step, Target
from app.upstream.fake import FakeModel
from app.upstream.fake_reply import Reply

DIMENSIONS = 256
_WORD = re.compile(r"\w+")


def vector(text: str) -> list[float]:
    """How often the words of a text fall into each of `DIMENSIONS` lots; never all zeros."""
    counts = [0.0] * DIMENSIONS
    for word in _WORD.findall(text.casefold()) or [""]:
        counts[crc32(word.encode()) % DIMENSIONS] += 1.0
    return counts


def embeddings(call: JsonObject) -> JsonObject:
    """The answer to a request for embeddings; InvalidRequest for one that is none."""
    texts = _texts(call.get("input"))
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise InvalidRequest("the input is no text and no list of texts", param="input")
    if not all(texts):
        raise InvalidRequest("the input has an empty text", param="input")
    tokens = sum(map(estimate_text, texts))
    return {
        "object": "list",
        "model": str(call["model"]).partition("?")[0],
        "data": [
            {"object": "embedding", "index": at, "embedding": vector(text)}
            for at, text in enumerate(texts)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _texts(given: object) -> object:
    """One input or several, each a text or tokens, as a list of texts: a token is a word."""
    if isinstance(given, str) or (isinstance(given, list) and _are_tokens(given)):
        given = [given]
    if not isinstance(given, list):
        return given
    return [
        " ".join(map(str, each)) if isinstance(each, list) and _are_tokens(each) else each
        for each in given
    ]


def _are_tokens(entries: list[object]) -> bool:
    return bool(entries) and all(isinstance(entry, int) for entry in entries)


def embedding_reply(call: JsonObject, reply: Reply) -> Reply:
    """The reply with embeddings as its answer, unless it is scripted to fail or say otherwise."""
    if reply.body is not None or reply.status >= HTTPStatus.BAD_REQUEST:
        return reply
    body = orjson.dumps(embeddings(call)).decode()
    return reply.model_copy(update={"body": body, "content_type": "application/json"})


@dataclass(eq=False)
class FakeEmbedder(FakeModel):
    """A model that also makes embeddings, or fails with `failure`, or never answers (`hangs`).

    `embedded` is what it saw.
    """

    failure: Exception | None = None
    hangs: bool = False
    embedded: list[tuple[str, ...]] = field(default_factory=list, init=False)

    async def embed(self, texts: Sequence[str], step: Step) -> list[list[float]]:
        """A vector for each text; booked like an upstream's call."""
        line = step.begin(Target(self.name, "fake", f"fake/{self.name}", self.price))
        self.embedded.append(tuple(texts))
        outcome, kind, usage = Outcome.CANCELLED, None, None
        try:
            if self.hangs:
                await anyio.sleep_forever()
            if self.failure is not None:
                outcome, kind = Outcome.FAILED, getattr(self.failure, "kind", None)
                raise self.failure
            outcome, usage = Outcome.OK, Usage(sum(map(estimate_text, texts)))
        finally:
            step.end(line, outcome, usage=usage, error_kind=kind)
        return [vector(text) for text in texts]
