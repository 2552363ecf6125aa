"""One deployment of an OpenAI-compatible server as a `ChatModel`: one question, one call.

Chat Completions: https://platform.openai.com/docs/api-reference/chat. Retries, limits and
deadlines are wrappers around it; the one thing repeated here is a refused order of turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import monotonic

import anyio

from app.errors import InternalError, MoaError, UpstreamError, UpstreamRejected
from app.interfaces import Abilities, Emit
from app.protocol.chat import ChatRequest
from app.protocol.usage import Usage
from app.record import CallRecord, Outcome, Step, Target
from app.upstream.answer_reader import AnswerReader
from app.upstream.errors import ErrorTranslator
from app.upstream.request_body import BodyWriter
from app.upstream.transport import Endpoint, Response, TransportError
from app.upstream.user_turns import ends_in_two, may_be_refused, merged

HOPS_HEADER = "x-moa-hops"
MAX_ERROR_BYTES = 64 * 1024
ERROR_BODY_SECONDS = 5.0
_LOOK_UP = 8
"""Reads after which a cancellation is looked for: one whose data is there never waits, and only who
waits can be cancelled."""
_SUCCESS = range(200, 300)


@dataclass(slots=True)
class _Attempt:
    """One call under way. `maybe_billed`: it is with the upstream, which has not refused it."""

    call: CallRecord
    reader: AnswerReader
    maybe_billed: bool = False
    answering: bool = False


class OpenAICompatible:
    """Asks one model of one upstream.

    `headers` are sent as they are; nothing of a client's headers ever is. `first_token` is in
    seconds. All mutable state: `merges_user_turns`, learned when the upstream refuses two user
    messages in a row and takes them merged.
    """

    def __init__(
        self,
        target: Target,
        abilities: Abilities,
        endpoint: Endpoint,
        *,
        headers: Mapping[str, str],
        body: BodyWriter,
        errors: ErrorTranslator,
        first_token: float,
    ) -> None:
        self.merges_user_turns = False
        self._target = target
        self._abilities = abilities
        self._endpoint = endpoint
        self._headers = headers
        self._body = body
        self._errors = errors
        self._first_token = first_token

    @property
    def name(self) -> str:
        """The name of its pool."""
        return self._target.model

    @property
    def abilities(self) -> Abilities:
        """What it can take."""
        return self._abilities

    async def answer(self, request: ChatRequest, step: Step, emit: Emit) -> None:
        """Ask, at most twice; raises UpstreamError."""
        asked = request
        if self.merges_user_turns and ends_in_two(request.conversation):
            asked = _with_merged_turns(request)
        refusal = await self._try(asked, step, emit)
        if refusal is None:
            return
        if not (may_be_refused(refusal) and ends_in_two(asked.conversation)):
            raise refusal
        if await self._try(_with_merged_turns(request), step, emit) is not None:
            raise refusal
        self.merges_user_turns = True

    async def _try(self, request: ChatRequest, step: Step, emit: Emit) -> UpstreamRejected | None:
        """One call, booked whatever happens; returns the refusal of a request that was wrong."""
        call = step.begin(self._target)
        attempt = _Attempt(call, AnswerReader(self._errors, whole=not request.stream))
        outcome, error_kind = Outcome.CANCELLED, None
        try:
            await self._exchange(attempt, request, step, emit)
            outcome = Outcome.OK
        except MoaError as error:
            outcome, error_kind = Outcome.FAILED, error.kind
            if isinstance(error, UpstreamRejected) and not attempt.answering:
                return error
            raise
        except Exception:
            outcome, error_kind = Outcome.FAILED, InternalError.kind
            raise
        finally:
            step.end(call, outcome, usage=_usage(attempt, request), error_kind=error_kind)
        return None

    async def _exchange(
        self, attempt: _Attempt, request: ChatRequest, step: Step, emit: Emit
    ) -> None:
        headers = {**self._headers, HOPS_HEADER: str(step.run.hops + 1)}
        attempt.maybe_billed = True
        give_up = monotonic() + self._first_token
        try:
            response = await self._endpoint.post(self._body.write(request), headers)
        except TransportError as error:
            attempt.maybe_billed = error.maybe_billed
            raise self._errors.transport(error, answering=False) from error
        is_read = False
        try:
            attempt.answering = attempt.maybe_billed = response.status in _SUCCESS
            if not attempt.answering:
                refusal = await self._refusal(response)
                is_read = True
                raise refusal
            await self._read(response, attempt, step, emit, give_up)
            is_read = True
        finally:
            await (response.finish() if is_read else response.abort())

    async def _read(
        self, response: Response, attempt: _Attempt, step: Step, emit: Emit, give_up: float
    ) -> None:
        """Hand on what arrives, read by read, until `[DONE]` or the end of the body."""
        reader, call = attempt.reader, attempt.call
        data, reads = b"-", 0
        while data:
            data = b"" if reader.done else await self._next(response, reader)
            reads += 1
            if not reads % _LOOK_UP:
                await anyio.lowlevel.checkpoint_if_cancelled()
            batch = reader.feed(data) if data else reader.end()
            if batch:
                if call.first_token is None:
                    call.first_token = step.run.clock()
                await emit(batch)
            elif call.first_token is None and monotonic() > give_up:
                raise self._errors.silent()

    async def _next(self, response: Response, reader: AnswerReader) -> bytes:
        """The next bytes; a connection that breaks after a whole answer broke nothing."""
        try:
            return await response.read()
        except TransportError as error:
            if reader.is_complete:
                return b""
            raise self._errors.transport(error, answering=True) from error

    async def _refusal(self, response: Response) -> UpstreamError:
        body = b""
        with anyio.move_on_after(ERROR_BODY_SECONDS):
            try:
                while len(body) < MAX_ERROR_BYTES and (data := await response.read()):
                    body += data
            except TransportError:
                pass  # the status says enough
        return self._errors.status(response.status, response.header, body[:MAX_ERROR_BYTES])


def _with_merged_turns(request: ChatRequest) -> ChatRequest:
    return replace(request, conversation=merged(request.conversation))


def _usage(attempt: _Attempt, request: ChatRequest) -> Usage | None:
    """What the upstream will charge: its own figures if it gave them, else our estimate."""
    if not attempt.maybe_billed:
        return None
    reader = attempt.reader
    if reader.usage is None:
        return Usage(request.prompt_tokens, reader.estimated_tokens, estimated=True)
    if reader.is_complete or reader.usage.completion >= reader.estimated_tokens:
        return reader.usage
    return replace(reader.usage, completion=reader.estimated_tokens, estimated=True)
