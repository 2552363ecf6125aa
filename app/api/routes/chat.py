"""`POST /v1/chat/completions`.

A plain ASGI endpoint: FastAPI's parameter machinery costs more than the rest of the server does
for one call, so the body is documented in `openapi.py` instead.
"""

from __future__ import annotations

import time
from functools import partial

from starlette.types import Receive, Scope, Send

from app.api import exchange
from app.api.arrival import arrival
from app.api.paths import model_in_path
from app.api.services import services
from app.api.streaming import EventStream, send_whole
from app.protocol.answer import Answer
from app.protocol.json_types import JsonObject
from app.protocol.request import parse_chat
from app.protocol.stream import ChunkEncoder
from app.serving.chat import ChatRun

PATH = "/v1/chat/completions"


class ChatCompletions:
    """The endpoint; raises a MoaError for what is wrong before the answer begins."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        here = exchange.current(scope)
        own = services(scope)
        came = await arrival(scope, receive)
        if came is None:
            return
        call = parse_chat(came.body, model_in_path(scope))
        run = own.chat.open(
            call, run_id=came.run_id, hops=came.hops, caller=came.caller, who=came.who
        )
        here.run = run
        if call.request.stream:
            chunks = ChunkEncoder(*_head(run), include_usage=call.include_usage)
            await EventStream(run, own.timing, chunks)(scope, receive, send)
        else:
            await send_whole(run, partial(_completion, run), scope, receive, send)


def _head(run: ChatRun) -> tuple[str, int, str]:
    """The `id`, `created` and `model` of an answer, the same in all its chunks."""
    return f"chatcmpl-{run.record.run_id}", int(time.time()), run.model


def _completion(
    run: ChatRun, answer: Answer, usage: JsonObject, moa: JsonObject | None
) -> JsonObject:
    answer_id, created, model = _head(run)
    return answer.to_wire(id=answer_id, created=created, model=model, usage=usage, moa=moa)
