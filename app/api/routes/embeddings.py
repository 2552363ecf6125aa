"""`POST /v1/embeddings`: handed on to the upstream of a model; graphs make none."""

from __future__ import annotations

import secrets
from functools import partial

from starlette.types import Receive, Scope, Send

from app.api import exchange
from app.api.body import take_body
from app.api.paths import model_in_path
from app.api.routes.chat import hops
from app.api.services import services
from app.api.streaming import send_whole
from app.protocol.embeddings import embedding_list, parse_embeddings
from app.serving.embeddings import embeddings_of

PATH = "/v1/embeddings"


class Embeddings:
    """The endpoint; raises a MoaError for what is wrong."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        here, own, passed = exchange.current(scope), services(scope), hops(scope)
        body = await take_body(scope, receive, own.body_patience)
        if body is None:
            return
        call = parse_embeddings(body, model_in_path(scope))
        run_id, caller = secrets.token_hex(12), here.caller or ""
        run = own.chat.open(call, run_id=run_id, hops=passed, caller=caller, asking=embeddings_of)
        here.run = run
        await send_whole(run, partial(embedding_list, run.model), scope, receive, send)
