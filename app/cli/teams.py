"""`moa teams`: what keys share limits in."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from app.access.caller import Team
from app.access.register import Page
from app.api.admin_bodies import Deleted, NewTeam, TeamChange, team_told
from app.cli.desk import Desk, at_desk
from app.cli.fields import NAME, OF_TEAMS, Given, changes, taking
from app.cli.owners import TEAM_HEAD, show_facts, show_json, show_rows, team_facts, team_row
from app.cli.terminal import endings, stdout

teams = typer.Typer(help="Teams: limits that keys share.", no_args_is_help=True)

Named = Annotated[str, typer.Argument(metavar="NAME", help="A team's name or id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
PAGE = 100


@teams.command()
@taking(OF_TEAMS)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What you call it.")],
    *,
    as_json: AsJson = False,
    given: Given,
) -> None:
    """Make a team. A request of one of its keys must be within the limits of both."""
    with endings():
        asked = changes(NewTeam, OF_TEAMS, given, name=name)
    _show(at_desk(lambda desk: desk.admin.create_team(asked)), None, as_json=as_json)


@teams.command("list")
def list_teams(*, as_json: AsJson = False) -> None:
    """List the teams, the newest first."""
    found = at_desk(_all_teams)
    if as_json:
        show_json([team_told(team) for team in found])
    else:
        show_rows(TEAM_HEAD, [team_row(team) for team in found])


@teams.command()
def show(name: Named, *, as_json: AsJson = False) -> None:
    """Show a team, and how its budget stands."""

    async def look(desk: Desk) -> tuple[Team, Any]:
        team = await desk.admin.team(name)
        usage = await desk.usage.of_team(team.id, team.limits, desk.usage.period(None, None))
        return team, usage.budget

    _show(*at_desk(look), as_json=as_json)


@teams.command()
@taking((NAME, *OF_TEAMS))
def update(named: Named, *, as_json: AsJson = False, given: Given) -> None:
    """Change what is given of a team, nothing else; `none` takes a limit away."""
    with endings():
        asked = changes(TeamChange, (NAME, *OF_TEAMS), given)
    _show(at_desk(lambda desk: desk.admin.change_team(named, asked)), None, as_json=as_json)


@teams.command()
def delete(name: Named, *, as_json: AsJson = False) -> None:
    """End a team for ever and revoke its keys; its books stay."""
    team = at_desk(lambda desk: desk.admin.delete_team(name))
    if as_json:
        show_json(Deleted(id=team.id))
    else:
        stdout().print(f"team {team.name} ({team.id}) is deleted, and its keys are revoked")


async def _all_teams(desk: Desk) -> list[Team]:
    found: list[Team] = []
    page = Page(PAGE)
    while part := await desk.admin.teams(page):
        found += part
        page = replace(page, after=part[-1].id)
    return found


def _show(team: Team, budget: Any, *, as_json: bool) -> None:
    if as_json:
        show_json(team_told(team))
    else:
        show_facts(team_facts(team, budget))
