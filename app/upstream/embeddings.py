"""One deployment of an OpenAI-compatible server as an `Embedder`: a batch of texts, one call.

Embeddings: https://platform.openai.com/docs/api-reference/embeddings. What is done with the
vectors is the engine's business.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import anyio
import orjson

from app.errors import InternalError, MoaError, UpstreamError
from app.protocol.completion import error_in
from app.protocol.json_types import JsonObject
from app.protocol.tokens import BYTES_PER_TOKEN, estimate_text
from app.protocol.usage import Usage, parse_usage
from app.record import Outcome, Step, Target
from app.upstream.errors import ErrorTranslator
from app.upstream.openai import HOPS_HEADER, MAX_ERROR_BYTES
from app.upstream.transport import Endpoint, Response, TransportError

MAX_BODY_BYTES = 32 * 1024 * 1024
"""64 vectors of 3072 numbers take some 4 MB as text."""
_SUCCESS = range(200, 300)


@dataclass(slots=True)
class _Attempt:
    """One call under way. `maybe_billed`: it is with the upstream, which has not refused it."""

    texts: Sequence[str]
    maybe_billed: bool = False
    usage: Usage | None = None

    def billed(self) -> Usage | None:
        """What the upstream will charge: its own figures if it gave them, else our estimate."""
        if self.usage is not None or not self.maybe_billed:
            return self.usage
        return Usage(sum(map(estimate_text, self.texts)), estimated=True)


class EmbeddingsCall:
    """Asks one embedding model of one upstream.

    `deadline` in seconds is for the whole call, since nothing is streamed. Texts longer than
    `context` tokens lose their end; None: nothing is cut. `extra` are body fields of the
    operator's.
    """

    def __init__(
        self,
        target: Target,
        endpoint: Endpoint,
        *,
        headers: Mapping[str, str],
        errors: ErrorTranslator,
        deadline: float,
        context: int | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        self._target = target
        self._endpoint = endpoint
        self._headers = headers
        self._errors = errors
        self._deadline = deadline
        self._context = context
        self._extra = dict(extra or {})

    async def embed(self, texts: Sequence[str], step: Step) -> list[list[float]]:
        """One vector a text, all of one length; raises UpstreamError. Booked whatever happens."""
        attempt = _Attempt([self._cut(text, step) for text in texts])
        call = step.begin(self._target)
        outcome, error_kind = Outcome.CANCELLED, None
        try:
            vectors = self._vectors(await self._answer(attempt, step), len(texts))
            outcome = Outcome.OK
        except MoaError as error:
            outcome, error_kind = Outcome.FAILED, error.kind
            raise
        except Exception:
            outcome, error_kind = Outcome.FAILED, InternalError.kind
            raise
        finally:
            step.end(call, outcome, usage=attempt.billed(), error_kind=error_kind)
        return vectors

    def _cut(self, text: str, step: Step) -> str:
        if self._context is None or estimate_text(text) <= self._context:
            return text
        step.run.note("embedding_cut", step.node, self._target.model)
        raw = text.encode("utf-8", "surrogatepass")
        return raw[: self._context * BYTES_PER_TOKEN].decode("utf-8", "ignore")

    async def _answer(self, attempt: _Attempt, step: Step) -> JsonObject:
        """The parsed body of a good answer."""
        body = {"model": self._target.upstream_model, "input": attempt.texts, **self._extra}
        headers = {**self._headers, HOPS_HEADER: str(step.run.hops + 1)}
        attempt.maybe_billed = True
        with anyio.move_on_after(self._deadline):
            try:
                response = await self._endpoint.post(orjson.dumps(body), headers)
            except TransportError as error:
                attempt.maybe_billed = error.maybe_billed
                raise self._errors.transport(error, answering=False) from error
            answer = await self._read(response, attempt)
            attempt.usage = parse_usage(answer.get("usage"))
            return answer
        raise self._errors.silent()

    async def _read(self, response: Response, attempt: _Attempt) -> JsonObject:
        is_read = False
        try:
            good = attempt.maybe_billed = response.status in _SUCCESS
            body = await self._body(response, MAX_BODY_BYTES if good else MAX_ERROR_BYTES)
            is_read = True
        except TransportError as error:
            raise self._errors.transport(error, answering=True) from error
        finally:
            await (response.finish() if is_read else response.abort())
        if not good:
            raise self._errors.status(response.status, response.header, body)
        return self._parsed(body)

    async def _body(self, response: Response, most: int) -> bytes:
        pieces, size = [], 0
        while data := await response.read():
            pieces.append(data)
            size += len(data)
            if size > most:
                raise self._errors.malformed("answered with too much")
        return b"".join(pieces)

    def _parsed(self, body: bytes) -> JsonObject:
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            raise self._errors.malformed("answered without embeddings", body)
        if (error := error_in(answer)) is not None:
            raise self._errors.inside(error)
        return answer

    def _vectors(self, answer: JsonObject, count: int) -> list[list[float]]:
        """The vectors in the order of the texts, which servers need not keep."""
        found: dict[int, list[float]] = {}
        data = answer.get("data")
        for place, item in enumerate(data if isinstance(data, list) else ()):
            vector = item.get("embedding") if isinstance(item, dict) else None
            if not _is_vector(vector):
                raise self._malformed("with an embedding that is no vector of numbers")
            index = item.get("index", place)
            found[index if isinstance(index, int) else -1] = vector
        if sorted(found) != list(range(count)):
            raise self._malformed(f"with {len(found)} embeddings for {count} texts")
        if len({len(vector) for vector in found.values()}) > 1:
            raise self._malformed("with embeddings of different lengths")
        return [found[place] for place in range(count)]

    def _malformed(self, what: str) -> UpstreamError:
        return self._errors.malformed(f"answered {what}")


def _is_vector(value: object) -> TypeGuard[list[float]]:
    if not isinstance(value, list) or not value:
        return False
    return all(type(each) in {int, float} and math.isfinite(each) for each in value)
