"""`GET /admin/spend`: what everybody spent, by key, team, graph or model, as JSON or CSV."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from app.access.caller import Right
from app.access.register import GroupBy
from app.api.rights import needing
from app.api.services import usage
from app.api.usage_bodies import Day, SpendTold, spend_csv, spend_told

router = APIRouter(prefix="/admin/spend", tags=["admin"], route_class=needing(Right.ADMIN))
CSV: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {"schema": {"type": "string"}}}}
}


@router.get("", response_model=SpendTold, responses=CSV)
async def spend(
    request: Request,
    first: Annotated[Day | None, Query(alias="from", description="This month's first.")] = None,
    last: Annotated[Day | None, Query(alias="to", description="Today.")] = None,
    by: GroupBy = "key",
    form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
) -> SpendTold | Response:
    """Sums of the requests that began on these days of UTC, both included; the dearest first."""
    service = usage(request.scope)
    period = service.period(first, last)
    lines = await service.report(period, by)
    if form == "csv":
        return Response(spend_csv(by, lines), media_type="text/csv; charset=utf-8")
    return spend_told(period, by, lines)
