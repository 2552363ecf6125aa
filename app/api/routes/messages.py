"""`POST /v1/messages` and `POST /v1/messages/count_tokens`: Anthropic's wire on the chat engine.

`anthropic-version` and `anthropic-beta` are accepted and say nothing to us.
"""

from __future__ import annotations

from functools import partial

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api import exchange
from app.api.arrival import arrival
from app.api.body import take_body
from app.api.paths import MESSAGES_PATH
from app.api.services import services
from app.api.streaming import EventStream, send_whole
from app.protocol.anthropic.answer import Frame, message_object
from app.protocol.anthropic.events import MessageEvents
from app.protocol.anthropic.request import parse_count, parse_messages

PATH = MESSAGES_PATH
COUNT_PATH = f"{PATH}/count_tokens"


class Messages:
    """The endpoint; raises a MoaError for what is wrong before the answer begins."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        here, own = exchange.current(scope), services(scope)
        came = await arrival(scope, receive)
        if came is None:
            return
        asked = parse_messages(came.body)
        run = own.chat.open(
            asked.call, run_id=came.run_id, hops=came.hops, caller=came.caller, who=came.who
        )
        here.run = run
        frame = Frame(f"msg_{came.run_id}", run.model, asked.stops, asked.thinking)
        request = asked.call.request
        if request.stream:
            events = MessageEvents(
                frame, input_tokens=request.conversation.tokens, request_id=here.request_id
            )
            await EventStream(run, own.timing, events)(scope, receive, send)
        else:
            await send_whole(run, partial(message_object, frame), scope, receive, send)


class CountTokens:
    """Our estimate of a prompt's tokens, for a model that is served; asks no upstream."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        own = services(scope)
        body = await take_body(scope, receive, own.body_patience)
        if body is None:
            return
        model, tokens = parse_count(body)
        own.runtime().resolve(model, exchange.current(scope).who)
        answer = Response(b'{"input_tokens":%d}' % tokens, media_type="application/json")
        await answer(scope, receive, send)
