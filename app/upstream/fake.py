"""A model that answers from scripts, for tests and examples: no socket, no clock to wait for.

`FakeModel` is a `ChatModel` like any deployment and books its calls like one. It remembers what it
was asked and what became of it, and tests wait for its events instead of sleeping. What an
upstream may do wrong on the wire is `fake_server`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import anyio

from app.errors import InternalError
from app.interfaces import Abilities, Emit
from app.protocol.chat import ChatRequest
from app.protocol.json_types import JsonObject
from app.protocol.usage import Usage
from app.record import CallRecord, Outcome, Price, Step, Target
from app.upstream.fake_script import Script

__all__ = ["Answer", "FakeCall", "FakeModel", "Script"]

PATIENCE = 10.0
"""Seconds a test waits for an event before it fails."""

ABLE = Abilities()
AN_ANSWER = Script()

Answer: TypeAlias = Script | str | Exception
"""A script, the text of one, or the error of a call that fails before its first token."""


@dataclass(slots=True)
class FakeCall:
    """What one call was asked and how far it came: `sent` batches (tokens, and one for the end)."""

    request: ChatRequest
    step: Step
    script: Script
    sent: int = 0
    outcome: Outcome = Outcome.RUNNING

    @property
    def messages(self) -> tuple[JsonObject, ...]:
        """The conversation it was asked."""
        return self.request.conversation.messages

    @property
    def params(self) -> Mapping[str, object]:
        """The other request fields it was asked with."""
        return self.request.params

    @property
    def cancelled(self) -> bool:
        """Whether the caller went away before the end."""
        return self.outcome is Outcome.CANCELLED

    def billed(self) -> Usage | None:
        """What the upstream charges: its report, an estimate for a part, nothing for nothing."""
        if self.outcome is Outcome.OK:
            return self.script.usage
        if self.sent or self.cancelled:
            return Usage(self.request.conversation.tokens, self.sent, estimated=True)
        return None


@dataclass(eq=False)
class FakeModel:
    """A `ChatModel` that plays `answers`: one again and again, or a function of the request.

    A sequence gives one answer per call, and its last one again and again. `calls` is what it was
    asked, in order of arrival; `active` and `max_active` count the calls under way.
    """

    name: str = "fake"
    answers: Answer | Sequence[Answer] | Callable[[ChatRequest], Answer] = AN_ANSWER
    abilities: Abilities = ABLE
    price: Price | None = None
    calls: list[FakeCall] = field(default_factory=list, init=False)
    active: int = field(default=0, init=False)
    max_active: int = field(default=0, init=False)
    _changed: anyio.Event = field(default_factory=anyio.Event, init=False)

    async def answer(self, request: ChatRequest, step: Step, emit: Emit) -> None:
        """Play the next script; raises what it says and books what came of it."""
        call = FakeCall(request, step, self._next(request))
        line = step.begin(Target(self.name, "fake", f"fake/{self.name}", self.price))
        outcome, kind = Outcome.CANCELLED, None
        self._open(call)
        try:
            await self._play(call, line, emit)
            outcome = Outcome.OK
        except Exception as error:
            outcome, kind = Outcome.FAILED, getattr(error, "kind", InternalError.kind)
            raise
        finally:
            call.outcome = outcome
            step.end(line, outcome, usage=call.billed(), error_kind=kind)
            self._close()

    async def started(self, calls: int = 1) -> None:
        """Wait until so many calls have begun; TimeoutError after `PATIENCE`, as below."""
        await self._until(lambda: len(self.calls) >= calls)

    async def ended(self, calls: int = 1) -> None:
        """Wait until so many calls are over, however they ended."""
        await self._until(lambda: len(self.calls) - self.active >= calls)

    async def sent(self, batches: int = 1, *, call: int = 0) -> None:
        """Wait until the call of this index has handed out so many batches."""
        await self._until(lambda: len(self.calls) > call and self.calls[call].sent >= batches)

    async def _play(self, call: FakeCall, line: CallRecord, emit: Emit) -> None:
        script = call.script
        batches = script.batches(stream=call.request.stream)
        stop = min(script.after, len(batches) - 1)
        for index, batch in enumerate(batches):
            await anyio.sleep(script.delay(index, stream=call.request.stream))
            if index == stop:
                await script.interrupt()
            if line.first_token is None:
                line.first_token = call.step.run.clock()
            await emit(batch)
            call.sent += 1
            self._tell()

    async def _until(self, reached: Callable[[], bool]) -> None:
        with anyio.fail_after(PATIENCE):
            while not reached():
                await self._changed.wait()

    def _next(self, request: ChatRequest) -> Script:
        answer = self._pick(request)
        if isinstance(answer, Exception):
            return Script(error=answer)
        return Script(answer) if isinstance(answer, str) else answer

    def _pick(self, request: ChatRequest) -> Answer:
        if isinstance(self.answers, Script | str | Exception):
            return self.answers
        if callable(self.answers):
            return self.answers(request)
        return self.answers[min(len(self.calls), len(self.answers) - 1)]

    def _open(self, call: FakeCall) -> None:
        self.calls.append(call)
        self.active += 1
        self.max_active = max(self.max_active, self.active)
        self._tell()

    def _close(self) -> None:
        self.active -= 1
        self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
