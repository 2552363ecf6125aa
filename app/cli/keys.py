"""`moa keys`: virtual keys, made, shown, changed, rotated, revoked, beside a running server."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

import typer

from app.access.caller import VirtualKey
from app.access.keyring import utc_now
from app.access.register import Page
from app.api.admin_bodies import KeyChange, KeyWanted, key_told, key_with_secret
from app.cli.desk import Desk, at_desk
from app.cli.fields import LONGEST_OVERLAP, NAME, OF_KEYS, Given, changes, taking
from app.cli.owners import KEY_HEAD, key_facts, key_row, show_facts, show_json, show_rows
from app.cli.spans import shown, span
from app.cli.terminal import endings, stderr, stdout
from app.errors import ConfigError
from app.serving.admin import OVERLAP

keys = typer.Typer(help="Virtual keys: who may call, and how much.", no_args_is_help=True)

Named = Annotated[str, typer.Argument(metavar="NAME", help="A key's name or id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
PAGE = 100


@keys.command()
@taking(OF_KEYS)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What you call it.")],
    *,
    as_json: AsJson = False,
    given: Given,
) -> None:
    """Make a key. Its secret is printed this once, alone on stdout, and is kept nowhere."""
    with endings():
        asked = changes(KeyWanted, OF_KEYS, given, name=name)
    asked["labels"] = _without_empty(asked.get("labels", {}))
    key, secret = at_desk(lambda desk: desk.admin.create_key(asked))
    _show_secret(key, secret, "made", as_json=as_json)


@keys.command("list")
def list_keys(
    *,
    team: Annotated[str | None, typer.Option("--team", help="Only this team's.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Revoked ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the keys, the newest first."""
    found = at_desk(lambda desk: _all_keys(desk, team))
    wanted = [key for key in found if everything or key.revoked is None]
    if as_json:
        show_json([key_told(key) for key in wanted])
    else:
        show_rows(KEY_HEAD, [key_row(key) for key in wanted])


@keys.command()
def show(name: Named, *, as_json: AsJson = False) -> None:
    """Show a key, and how its budget stands."""

    async def look(desk: Desk) -> tuple[VirtualKey, Any]:
        key = await desk.admin.key(name)
        usage = await desk.usage.of_key(key.id, key.limits, desk.usage.period(None, None))
        return key, usage.budget

    key, budget = at_desk(look)
    if as_json:
        show_json(key_told(key))
    else:
        show_facts(key_facts(key, budget))


@keys.command()
@taking((NAME, *OF_KEYS))
def update(named: Named, *, as_json: AsJson = False, given: Given) -> None:
    """Change what is given of a key, nothing else; `none` takes a limit away."""
    with endings():
        asked = changes(KeyChange, (NAME, *OF_KEYS), given)

    async def change(desk: Desk) -> VirtualKey:
        if "labels" in asked:
            labels = {**(await desk.admin.key(named)).labels, **asked["labels"]}
            asked["labels"] = _without_empty(labels)
        return await desk.admin.change_key(named, asked)

    key = at_desk(change)
    if as_json:
        show_json(key_told(key))
    else:
        show_facts(key_facts(key, None))


@keys.command()
def rotate(
    name: Named,
    *,
    overlap: Annotated[
        str | None, typer.Option("--overlap", help="How long the former secret goes on: 1h, 0s.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give a key another secret; limits, budget and books go on. Prints it this once."""
    with endings():
        until = OVERLAP if overlap is None else _overlap(overlap)
    key, secret = at_desk(lambda desk: desk.admin.rotate_key(name, until))
    _show_secret(key, secret, f"rotated ({_of_the_former_secret(until)})", as_json=as_json)


@keys.command()
def revoke(name: Named, *, as_json: AsJson = False) -> None:
    """End a key for ever. Running servers refuse it within a second."""
    key = at_desk(lambda desk: desk.admin.revoke_key(name))
    if as_json:
        show_json(key_told(key))
    elif key.revoked is not None:
        stdout().print(f"key {key.name} ({key.id}) is revoked since {shown(key.revoked)}")


async def _all_keys(desk: Desk, team: str | None) -> list[VirtualKey]:
    found: list[VirtualKey] = []
    page = Page(PAGE)
    while part := await desk.admin.keys(page, team):
        found += part
        page = replace(page, after=part[-1].id)
    return found


def _overlap(text: str) -> Any:
    accepted = "a time of 30d at most, such as 0s, 30m or 1h"
    try:
        found = span(text)
    except ValueError:
        raise ConfigError(f"--overlap: found {text!r}, expected {accepted}") from None
    if found > LONGEST_OVERLAP:
        raise ConfigError(f"--overlap: found {text!r}, expected {accepted}")
    return found


def _of_the_former_secret(overlap: timedelta) -> str:
    if not overlap:
        return "the former secret has ended"
    return f"the former secret works until {utc_now() + overlap:%Y-%m-%d %H:%M:%S} UTC"


def _without_empty(labels: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if value}


def _show_secret(key: VirtualKey, secret: str, what: str, *, as_json: bool) -> None:
    if as_json:
        show_json(key_with_secret(key, secret))
        return
    stderr().print(f"key {key.name} ({key.id}) is {what}; its secret, shown this once:")
    stdout().print(secret)
    stderr().print("clients send it as their API key; `moa keys revoke` ends it", style="dim")
