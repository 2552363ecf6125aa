"""`/admin/teams`: what keys share limits in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.access.caller import Right
from app.access.register import Page
from app.api.admin_bodies import Deleted, Listed, NewTeam, TeamChange, TeamTold, listed, team_told
from app.api.rights import needing
from app.api.services import admin

router = APIRouter(prefix="/admin/teams", tags=["admin"], route_class=needing(Right.ADMIN))


@router.post("")
async def create_team(request: Request, body: NewTeam) -> TeamTold:
    """Make a team."""
    return team_told(await admin(request.scope).create_team(body.changes()))


@router.get("")
async def list_teams(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(description="The `last_id` of the page before.")] = None,
) -> Listed[TeamTold]:
    """All teams, the newest first."""
    found = await admin(request.scope).teams(Page(limit + 1, after))
    return listed(map(team_told, found), [team.id for team in found], limit)


@router.get("/{team}")
async def show_team(request: Request, team: str) -> TeamTold:
    """One team, by its id or name."""
    return team_told(await admin(request.scope).team(team))


@router.patch("/{team}")
async def change_team(request: Request, team: str, body: TeamChange) -> TeamTold:
    """Change what the body has; it counts for the next request of each of its keys."""
    return team_told(await admin(request.scope).change_team(team, body.changes()))


@router.delete("/{team}")
async def delete_team(request: Request, team: str) -> Deleted:
    """End a team and revoke its keys; its books stay."""
    return Deleted(id=(await admin(request.scope).delete_team(team)).id)
