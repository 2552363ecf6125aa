"""`POST /v1/completions`: OpenAI's legacy text completions, answered by chat models."""

from __future__ import annotations

import secrets
import time
from functools import partial

from starlette.types import Receive, Scope, Send

from app.api import exchange
from app.api.body import take_body
from app.api.paths import model_in_path
from app.api.routes.chat import hops
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
        here, own, passed = exchange.current(scope), services(scope), hops(scope)
        body = await take_body(scope, receive, own.body_patience)
        if body is None:
            return
        asked = parse_text(body, model_in_path(scope))
        run_id, caller = secrets.token_hex(12), here.caller or ""
        run = own.chat.open(
            asked.call, run_id=run_id, hops=passed, caller=caller, asking=partial(_asking, asked)
        )
        here.run = run
        head = TextHead(f"cmpl-{run_id}", int(time.time()), run.model)
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
