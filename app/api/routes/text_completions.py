"""`POST /v1/completions`: OpenAI's legacy text completions, answered by chat models."""

from __future__ import annotations

import time
from functools import partial

from starlette.types import Receive, Scope, Send

from app.api import exchange
from app.api.arrival import arrival
from app.api.paths import model_in_path
from app.api.services import services
from app.api.streaming import EventStream, send_whole
from app.interfaces import ChatModel
from app.protocol.text_completion import TextEncoder, TextHead, text_completion
from app.protocol.text_request import TextCall, parse_text
from app.serving.runtime import Served
from app.serving.several import Several

PATH = "/v1/completions"


class TextCompletions:
    """The endpoint; raises a MoaError for what is wrong before the answer begins."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        here, own = exchange.current(scope), services(scope)
        came = await arrival(scope, receive)
        if came is None:
            return
        asked = parse_text(came.body, model_in_path(scope))
        run = own.chat.open(
            asked.call,
            run_id=came.run_id,
            hops=came.hops,
            caller=came.caller,
            who=came.who,
            asking=partial(_asking, asked),
        )
        here.run = run
        head = TextHead(f"cmpl-{came.run_id}", int(time.time()), run.model)
        prompt_of = asked.prompt_of if asked.echo else None
        if asked.call.request.stream:
            events = TextEncoder(head, prompt_of, include_usage=asked.call.include_usage)
            await EventStream(run, own.timing, events)(scope, receive, send)
        else:
            await send_whole(run, partial(text_completion, head, prompt_of), scope, receive, send)


def _asking(asked: TextCall, served: Served) -> ChatModel:
    if len(asked.prompts) == 1:
        return served.model
    return Several(served.model, asked.conversations)
