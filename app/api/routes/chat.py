"""`POST /v1/chat/completions`.

A plain ASGI endpoint: FastAPI's parameter machinery costs more than the rest of the server does
for one call, so the body is documented in `openapi.py` instead.
"""

from __future__ import annotations

import secrets
import time
from functools import partial

from starlette.types import Receive, Scope, Send

from app.api import exchange
from app.api.body import take_body
from app.api.paths import model_in_path
from app.api.services import services
from app.api.streaming import EventStream, send_whole
from app.errors import InvalidRequest, LoopDetected
from app.protocol.answer import Answer
from app.protocol.json_types import JsonObject
from app.protocol.request import parse_chat
from app.protocol.stream import ChunkEncoder
from app.serving.chat import ChatRun

PATH = "/v1/chat/completions"
MAX_HOPS = 3


class ChatCompletions:
    """The endpoint; raises a MoaError for what is wrong before the answer begins."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        here = exchange.current(scope)
        passed = hops(scope)
        own = services(scope)
        body = await take_body(scope, receive, own.body_patience)
        if body is None:
            return
        call = parse_chat(body, model_in_path(scope))
        run_id, caller = secrets.token_hex(12), here.caller or ""
        run = own.chat.open(call, run_id=run_id, hops=passed, caller=caller)
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


def hops(scope: Scope) -> int:
    """How many gateways the request has passed. Raises LoopDetected above three."""
    value = exchange.header(scope, b"x-moa-hops")
    if value is None:
        return 0
    if not value.isdigit() or len(value) > 4:  # noqa: PLR2004 - more digits than any number of hops
        raise InvalidRequest("The header x-moa-hops must be a whole number", param="x-moa-hops")
    if int(value) > MAX_HOPS:
        raise LoopDetected(
            f"The request has passed more than {MAX_HOPS} gateways: most likely one calls itself",
            should_retry=False,
        )
    return int(value)
