"""`POST /v1/embeddings`: handed on to the upstream of a model; graphs make none."""

from __future__ import annotations

from functools import partial

from starlette.types import Receive, Scope, Send

from app.api import exchange
from app.api.arrival import arrival
from app.api.paths import model_in_path
from app.api.services import services
from app.api.streaming import send_whole
from app.protocol.embeddings import embedding_list, parse_embeddings
from app.serving.embeddings import embeddings_of

PATH = "/v1/embeddings"


class Embeddings:
    """The endpoint; raises a MoaError for what is wrong."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        here, own = exchange.current(scope), services(scope)
        came = await arrival(scope, receive)
        if came is None:
            return
        call = parse_embeddings(came.body, model_in_path(scope))
        run = own.chat.open(
            call,
            run_id=came.run_id,
            hops=came.hops,
            caller=came.caller,
            who=came.who,
            asking=embeddings_of,
        )
        here.run = run
        await send_whole(run, partial(embedding_list, run.model), scope, receive, send)
