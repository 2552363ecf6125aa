"""One chat request, from its name to its settled record. Read this file first."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import attrgetter

import anyio

from app.access.caller import Caller
from app.engine.failure import RETRY_HELPS
from app.errors import DeadlineExceeded, InternalError, InvalidRequest, MoaError
from app.interfaces import ChatModel, Emit
from app.protocol.chat import ChatRequest
from app.protocol.json_types import JsonObject
from app.protocol.request import ChatCall, Wishes
from app.record import Caps, Outcome, RunRecord, Step
from app.serving import report
from app.serving.admission import OPEN_DOOR, Admission, Entry, Wanted
from app.serving.runtime import Runtime, Served
from app.serving.several import Several

HASHED_FIELDS = ("user", "safety_identifier")
"""Fields that name a person: an upstream learns that two requests are one person's, not whose."""


class ChatService:
    """Resolves, runs and settles chat requests on whatever runtime is current.

    `on_end` reads the finished record and must not wait; `admission` asks for room before a run and
    books it after; `hash_key` keys the hashes of user names, random for each process where the
    operator sets none.
    """

    def __init__(
        self,
        runtime: Callable[[], Runtime],
        *,
        on_end: Callable[[RunRecord], None],
        admission: Admission = OPEN_DOOR,
        clock: Callable[[], float] = time.perf_counter,
        hash_key: bytes | None = None,
    ) -> None:
        self._runtime, self._on_end, self._clock = runtime, on_end, clock
        self._admission = admission
        self._hash_key = hash_key or secrets.token_bytes(32)

    def open(
        self,
        call: ChatCall,
        *,
        run_id: str,
        hops: int = 0,
        caller: str = "",
        who: Caller | None = None,
        asking: Callable[[Served], ChatModel] = attrgetter("model"),
    ) -> ChatRun:
        """Prepare a run for a caller, "" in open mode; `asking` puts something around the model.

        `who` is that caller with its rights and limits, None where it has none.

        Raises ModelNotFound, or InvalidRequest for what the model cannot do.
        """
        runtime = self._runtime()
        served = runtime.resolve(call.model, who)
        model = asking(served)
        _refuse_unable(served, call.request.params)
        seed = secrets.randbits(32)
        record = RunRecord(run_id, served.name, self._clock, hops, seed, caller)
        record.caps = _caps(record, _deadline(served, call.wishes), call.wishes)
        request = self._private(call.request)
        asked = model.requests(request) if isinstance(model, Several) else (request,)
        wanted = Wanted(runtime, served, asked, _deadline(served, call.wishes))
        entry = Entry(self._admission, wanted, who, record)
        return ChatRun(call, served, request, entry, model=model, on_end=self._on_end)

    def _private(self, request: ChatRequest) -> ChatRequest:
        hashed = {
            name: hmac.digest(self._hash_key, value.encode(), "sha256").hex()
            for name in HASHED_FIELDS
            if isinstance(value := request.params.get(name), str)
        }
        return request.with_params({**request.params, **hashed}) if hashed else request


class ChatRun:
    """One request under way: run it once, then ask what it came to.

    `model` is the name the client used; every chunk and answer carries it.
    """

    def __init__(
        self,
        call: ChatCall,
        served: Served,
        request: ChatRequest,
        entry: Entry,
        *,
        model: ChatModel,
        on_end: Callable[[RunRecord], None],
    ) -> None:
        self.model = call.model
        self.record = entry.run
        self._entry = entry
        self._served, self._wishes, self._on_end = served, call.wishes, on_end
        self._answering = model
        self._request = replace(request, progress=_progress(served, call))
        self._deadline = _deadline(served, call.wishes)

    async def execute(self, emit: Emit) -> None:
        """Answer into `emit`. Raises a MoaError; the record is closed and read however it ends."""
        outcome, error_kind = Outcome.CANCELLED, None
        try:
            await self._entry.admit()
            await self._answer(emit)
            outcome = Outcome.OK
        except MoaError as error:
            outcome, error_kind = Outcome.FAILED, error.kind
            if (
                error.should_retry is None
                and error.status not in RETRY_HELPS
                and self.record.is_billed
            ):
                error.should_retry = False
            raise
        except Exception as bug:
            outcome, error_kind = Outcome.FAILED, MoaError.kind
            if self.record.is_billed:
                raise InternalError(InternalError.TOLD, should_retry=False) from bug
            raise
        finally:
            self.record.close(outcome, error_kind)
            try:
                self._on_end(self.record)
            finally:
                await self._entry.close()

    def usage(self) -> JsonObject:
        """OpenAI's `usage` as the graph counts it, with `cost` in USD or null."""
        graph = self._served.graph
        return report.usage(self.record, answer_only=graph is not None and graph.usage == "answer")

    def extension(self) -> JsonObject | None:
        """The `moa` object: always where the answer is degraded, in full where it is wished for."""
        if "run" in self._wishes.include:
            return report.run(self.record)
        return report.summary(self.record) if self.record.degraded else None

    def headers(self) -> dict[str, str]:
        """Response headers; cost and degradation are known once the run has ended."""
        return {**report.headers(self.record), **self._entry.ticket.headers()}

    async def _answer(self, emit: Emit) -> None:
        with anyio.move_on_after(self._deadline) as scope:
            await self._answering.answer(self._request, Step(self.record), emit)
        if scope.cancelled_caught:
            raise DeadlineExceeded(
                f"No whole answer within {self._deadline:g} s.", should_retry=False
            )


def _deadline(served: Served, wishes: Wishes) -> float:
    return served.deadline if wishes.timeout is None else min(served.deadline, wishes.timeout)


def _caps(record: RunRecord, deadline: float, wishes: Wishes) -> Caps:
    """What the client wants to spend at most; a graph adds its own caps when it runs."""
    until = record.started + deadline
    return Caps(wishes.max_calls, wishes.max_cost, until, wishes.quorum)


def _progress(served: Served, call: ChatCall) -> bool:
    if not call.request.stream:
        return False
    if call.wishes.progress is not None:
        return call.wishes.progress == "reasoning"
    return served.graph is not None and served.graph.progress


def _refuse_unable(served: Served, params: Mapping[str, object]) -> None:
    abilities = served.model.abilities
    for name in ("tools", "functions"):
        if params.get(name) and not abilities.tools:
            raise InvalidRequest(f"The model '{served.name}' cannot use tools.", param=name)
    wanted = params.get("response_format")
    is_schema = isinstance(wanted, dict) and wanted.get("type") == "json_schema"
    if is_schema and not abilities.json_schema:
        raise InvalidRequest(
            f"The model '{served.name}' cannot keep to a JSON schema.", param="response_format"
        )
