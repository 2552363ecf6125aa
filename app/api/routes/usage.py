"""`GET /v1/usage`: what the caller's own key, or its team, has spent and has left."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.access.caller import NO_LIMITS, Right
from app.api import exchange
from app.api.rights import needing
from app.api.services import usage
from app.api.usage_bodies import Day, UsageTold, usage_told
from app.errors import Forbidden, InvalidRequest

router = APIRouter(tags=["usage"], route_class=needing(Right.CALL))


@router.get("/v1/usage")
async def own_usage(
    request: Request,
    *,
    first: Annotated[Day | None, Query(alias="from", description="This month's first.")] = None,
    last: Annotated[Day | None, Query(alias="to", description="Today.")] = None,
    team: Annotated[bool, Query(description="Of the whole team; needs `read_team`.")] = False,
) -> UsageTold:
    """Spend of these days of UTC, limits, and how the budget stands now.

    Without virtual keys: of all callers that have none, together.
    """
    service, who = usage(request.scope), exchange.current(request.scope).who
    key = who.key if who else None
    period = service.period(first, last)
    if not team:
        owner = (key.id, key.name) if key else ("", "")
        limits = key.limits if key else NO_LIMITS
        return usage_told("key", owner, await service.of_key(owner[0], limits, period))
    if who is None or not who.may(Right.READ_TEAM):
        raise Forbidden(f"This key lacks the right '{Right.READ_TEAM}'", param="team")
    if key is None or key.team is None:
        raise InvalidRequest("team: this key is in no team", param="team")
    own = key.team
    return usage_told("team", (own.id, own.name), await service.of_team(own.id, own.limits, period))
