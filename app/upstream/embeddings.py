"""The embeddings of one deployment of an OpenAI-compatible server: a batch of inputs, one call.

For the engine as an `Embedder`, for clients as an `EmbeddingServer`.
Embeddings: https://platform.openai.com/docs/api-reference/embeddings. What is done with the
vectors is the engine's business.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard, TypeVar

import anyio
import orjson

from app.errors import InternalError, MoaError, UpstreamError
from app.protocol.completion import error_in
from app.protocol.embeddings import in_form
from app.protocol.json_types import JsonObject
from app.protocol.tokens import BYTES_PER_TOKEN, estimate_inputs, estimate_text
from app.protocol.usage import Usage, parse_usage
from app.record import Outcome, Step, Target
from app.upstream.errors import ErrorTranslator
from app.upstream.openai import HOPS_HEADER, MAX_ERROR_BYTES
from app.upstream.transport import Endpoint, Response, TransportError

MAX_BODY_BYTES = 32 * 1024 * 1024
"""64 vectors of 3072 numbers take some 4 MB as text."""
_SUCCESS = range(200, 300)
_NO_VECTOR = "with an embedding that is no vector of numbers"

T = TypeVar("T")


@dataclass(slots=True)
class _Attempt:
    """One call under way; `tokens` is our estimate of its inputs.

    `maybe_billed`: it is with the upstream, which has not refused it.
    """

    tokens: int
    maybe_billed: bool = False
    usage: Usage | None = None

    def billed(self) -> Usage | None:
        """What the upstream will charge: its own figures if it gave them, else our estimate."""
        if self.usage is not None or not self.maybe_billed:
            return self.usage
        return Usage(self.tokens, estimated=True)


class EmbeddingsCall:
    """Asks one embedding model of one upstream.

    `deadline` in seconds is for the whole call, since nothing is streamed. Texts longer than
    `context` tokens lose their end, unless they are a client's own; None: nothing is cut. `fields`
    writes body fields the way the operator wants them.
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
        fields: Callable[[Mapping[str, object]], Mapping[str, object]] = dict,
    ) -> None:
        self._target = target
        self._endpoint = endpoint
        self._headers = headers
        self._errors = errors
        self._deadline = deadline
        self._context = context
        self._fields = fields

    async def embed(self, texts: Sequence[str], step: Step) -> list[list[float]]:
        """One vector a text, all of one length; raises UpstreamError. Booked whatever happens."""
        sent = [self._cut(text, step) for text in texts]
        return await self._booked({"input": sent}, sent, step, self._vectors)

    async def pass_on(self, params: Mapping[str, object], step: Step) -> list[JsonObject]:
        """A client's own request, answered in the form it asks for; raises UpstreamError."""
        given, is_base64 = params["input"], params.get("encoding_format") == "base64"
        is_list = isinstance(given, list) and not isinstance(given[0], int)
        inputs = given if isinstance(given, list) and is_list else [given]

        def read(answer: JsonObject, count: int) -> list[JsonObject]:
            return self._data(answer, count, is_base64=is_base64)

        return await self._booked(params, inputs, step, read)

    async def _booked(
        self,
        params: Mapping[str, object],
        inputs: Sequence[object],
        step: Step,
        read: Callable[[JsonObject, int], T],
    ) -> T:
        attempt = _Attempt(estimate_inputs(list(inputs)))
        call = step.begin(self._target)
        outcome, error_kind = Outcome.CANCELLED, None
        try:
            found = read(await self._answer(attempt, params, step), len(inputs))
            outcome = Outcome.OK
        except MoaError as error:
            outcome, error_kind = Outcome.FAILED, error.kind
            raise
        except Exception:
            outcome, error_kind = Outcome.FAILED, InternalError.kind
            raise
        finally:
            step.end(call, outcome, usage=attempt.billed(), error_kind=error_kind)
        return found

    def _cut(self, text: str, step: Step) -> str:
        if self._context is None or estimate_text(text) <= self._context:
            return text
        step.run.note("embedding_cut", step.node, self._target.model)
        raw = text.encode("utf-8", "surrogatepass")
        return raw[: self._context * BYTES_PER_TOKEN].decode("utf-8", "ignore")

    async def _answer(
        self, attempt: _Attempt, params: Mapping[str, object], step: Step
    ) -> JsonObject:
        """The parsed body of a good answer."""
        body = {"model": self._target.upstream_model, **self._fields(params)}
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
            await anyio.lowlevel.checkpoint_if_cancelled()
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
        """The vectors, all of one length."""
        vectors = []
        for item in self._in_order(answer, count):
            vector = item.get("embedding")
            if not _is_vector(vector):
                raise self._malformed(_NO_VECTOR)
            vectors.append(vector)
        if len({len(vector) for vector in vectors}) > 1:
            raise self._malformed("with embeddings of different lengths")
        return vectors

    def _data(self, answer: JsonObject, count: int, *, is_base64: bool) -> list[JsonObject]:
        """The embeddings as they came, in the wanted form: many servers know but one of the two."""
        data = []
        for place, item in enumerate(self._in_order(answer, count)):
            try:
                vector = in_form(item.get("embedding"), is_base64=is_base64)
            except ValueError as failure:
                raise self._malformed(_NO_VECTOR) from failure
            data.append({**item, "object": "embedding", "index": place, "embedding": vector})
        return data

    def _in_order(self, answer: JsonObject, count: int) -> list[JsonObject]:
        """The items of the answer in the order of the inputs, which servers need not keep."""
        found: dict[int, JsonObject] = {}
        data = answer.get("data")
        for place, item in enumerate(data if isinstance(data, list) else ()):
            if not isinstance(item, dict):
                raise self._malformed(_NO_VECTOR)
            index = item.get("index", place)
            found[index if isinstance(index, int) else -1] = item
        if sorted(found) != list(range(count)):
            raise self._malformed(f"with {len(found)} embeddings for {count} texts")
        return [found[place] for place in range(count)]

    def _malformed(self, what: str) -> UpstreamError:
        return self._errors.malformed(f"answered {what}")


def _is_vector(value: object) -> TypeGuard[list[float]]:
    if not isinstance(value, list) or not value:
        return False
    return all(type(each) in {int, float} and math.isfinite(each) for each in value)
