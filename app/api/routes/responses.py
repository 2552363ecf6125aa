"""`POST /v1/responses`, and what of it was stored: `GET`, `DELETE`, `…/input_items`."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.types import Receive, Scope, Send

from app.access.caller import Right
from app.api import exchange
from app.api.arrival import arrival
from app.api.rights import needing
from app.api.services import services
from app.api.streaming import EventStream, send_whole
from app.errors import InvalidRequest
from app.protocol.json_types import JsonObject
from app.protocol.responses.request import parse_response_call

PATH = "/v1/responses"
router = APIRouter(tags=["responses"], route_class=needing(Right.CALL))


class Responses:
    """The endpoint; raises a MoaError for what is wrong before the answer begins."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        here, own = exchange.current(scope), services(scope)
        came = await arrival(scope, receive)
        if came is None:
            return
        call = parse_response_call(came.body)
        run = await own.responses.open(
            call, run_id=came.run_id, hops=came.hops, caller=came.caller, who=came.who
        )
        here.run = run.chat
        if call.stream:
            await EventStream(run, own.timing, run.events)(scope, receive, send)
        else:
            await send_whole(run, run.whole, scope, receive, send)


@router.get(PATH + "/{response_id}")
async def get_response(
    request: Request,
    response_id: str,
    *,
    stream: Annotated[bool, Query(json_schema_extra={"const": False})] = False,
) -> JsonObject:
    """A stored response; its events cannot be had again."""
    if stream:
        raise InvalidRequest("stream: a stored response is not streamed again", param="stream")
    own, caller = services(request.scope), exchange.current(request.scope).caller
    return await own.responses.find(caller, response_id)


@router.delete(PATH + "/{response_id}")
async def delete_response(request: Request, response_id: str) -> JsonObject:
    """Forget a stored response; a conversation cannot go on from it any more."""
    own, caller = services(request.scope), exchange.current(request.scope).caller
    await own.responses.forget(caller, response_id)
    return {"id": response_id, "object": "response", "deleted": True}


@router.get(PATH + "/{response_id}/input_items")
async def list_input_items(
    request: Request,
    response_id: str,
    after: Annotated[str | None, Query(description="An item's id.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> JsonObject:
    """What a stored response answers, earlier turns of the conversation included."""
    own, caller = services(request.scope), exchange.current(request.scope).caller
    items = await own.responses.items(caller, response_id)
    if order == "desc":
        items.reverse()
    ids = [item.get("id") for item in items]
    if after is not None and after not in ids:
        raise InvalidRequest("after: the response has no such item", param="after")
    start = 0 if after is None else ids.index(after) + 1
    page = items[start : start + limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0].get("id") if page else None,
        "last_id": page[-1].get("id") if page else None,
        "has_more": start + limit < len(items),
    }
