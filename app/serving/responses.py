"""Requests for responses: a chat run whose answer is told as a response and, if wished, stored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from app.access.caller import Caller
from app.errors import MoaError
from app.interfaces import Cache, Emit
from app.protocol.answer import Answer
from app.protocol.chat import Batch
from app.protocol.json_types import JsonObject
from app.protocol.responses.events import ResponseEvents
from app.protocol.responses.items import listed
from app.protocol.responses.output import Head, whole_response
from app.protocol.responses.request import ResponseCall, param_in_request
from app.serving.chat import ChatRun, ChatService
from app.serving.kept_responses import KeptResponses


class ResponseService:
    """Opens runs for responses and keeps what they come to; `now` is in Unix seconds."""

    def __init__(
        self, chat: ChatService, store: Cache, *, now: Callable[[], float] = time.time
    ) -> None:
        self._chat, self._now = chat, now
        self._kept = KeptResponses(store)

    async def open(
        self,
        call: ResponseCall,
        *,
        run_id: str,
        hops: int = 0,
        caller: str = "",
        who: Caller | None = None,
    ) -> ResponseRun:
        """Prepare a run, as `ChatService.open` does.

        Raises InvalidRequest too where the conversation to go on with is not stored.
        """
        earlier = await self._kept.earlier(caller, call.previous)
        own = await self._kept.resolved(caller, call.items)
        with _in_words_of_responses():
            chat = call.chat([*earlier, *own])
            run = self._chat.open(chat, run_id=run_id, hops=hops, caller=caller, who=who)
        head = Head(run_id, int(self._now()), call.model, call.repeated)
        kept = self._kept if call.store else None
        return ResponseRun(run, head, listed(own, run_id), kept, caller, stream=call.stream)

    async def find(self, caller: str, response_id: str) -> JsonObject:
        """A stored response. Raises ResponseNotFound."""
        return (await self._kept.find(caller, response_id)).response

    async def forget(self, caller: str, response_id: str) -> None:
        """Delete a stored response. Raises ResponseNotFound."""
        await self._kept.forget(caller, response_id)

    async def items(self, caller: str, response_id: str) -> list[JsonObject]:
        """All input that a stored response answers, earlier turns first.

        Raises ResponseNotFound, or InvalidRequest where an earlier turn is lost.
        """
        turn = await self._kept.find(caller, response_id)
        earlier = await self._kept.earlier(caller, turn.response["previous_response_id"])
        return [*earlier, *turn.items]


class ResponseRun:
    """One response under way: a chat run, and what is made of its answer.

    It is stored before the client hears that it is complete, so that the next request finds it.
    """

    def __init__(
        self,
        run: ChatRun,
        head: Head,
        items: Sequence[JsonObject],
        kept: KeptResponses | None,
        caller: str,
        *,
        stream: bool,
    ) -> None:
        self.chat = run
        self.events = ResponseEvents(head)
        self._head, self._items, self._kept, self._caller = head, items, kept, caller
        self._stream = stream
        self._response: JsonObject = {}

    async def execute(self, emit: Emit) -> None:
        """Answer into `emit`. Raises a MoaError, in the words of a request for a response."""
        answer = Answer()

        async def watch(batch: Batch) -> None:
            answer.add(batch)
            await emit(batch)

        with _in_words_of_responses():
            await self.chat.execute(emit if self._stream else watch)
        if self._stream:
            self._response = self.events.result(self.usage(), self.extension())
        else:
            self._response = whole_response(self._head, answer, self.usage(), self.extension())
        if self._kept is not None:
            await self._kept.keep(self._caller, self._response, self._items)

    def whole(self, _answer: Answer, _usage: JsonObject, _moa: JsonObject | None) -> JsonObject:
        """The response object, after `execute`: a `WholeDialect`."""
        return self._response

    def usage(self) -> JsonObject:
        """OpenAI's `usage` of chat."""
        return self.chat.usage()

    def extension(self) -> JsonObject | None:
        """The `moa` object."""
        return self.chat.extension()

    def headers(self) -> dict[str, str]:
        """Response headers."""
        return self.chat.headers()


@contextmanager
def _in_words_of_responses() -> Iterator[None]:
    try:
        yield
    except MoaError as error:
        error.param = param_in_request(error.param)
        raise
