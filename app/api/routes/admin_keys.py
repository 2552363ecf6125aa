"""`/admin/keys`: virtual keys, made, listed, changed, rotated, revoked."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.access.caller import Right
from app.access.register import Page
from app.api.admin_bodies import (
    KeyChange,
    KeyTold,
    KeyWanted,
    KeyWithSecret,
    Listed,
    Rotation,
    key_told,
    key_with_secret,
    listed,
)
from app.api.rights import needing
from app.api.services import admin

router = APIRouter(prefix="/admin/keys", tags=["admin"], route_class=needing(Right.ADMIN))


@router.post("")
async def create_key(request: Request, body: KeyWanted) -> KeyWithSecret:
    """Make a key. `key` is its secret, which is told this once."""
    return key_with_secret(*await admin(request.scope).create_key(body.changes()))


@router.get("")
async def list_keys(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(description="The `last_id` of the page before.")] = None,
    team: Annotated[str | None, Query(description="A team's id or name.")] = None,
) -> Listed[KeyTold]:
    """All keys, the newest first, revoked ones included."""
    found = await admin(request.scope).keys(Page(limit + 1, after), team)
    return listed(map(key_told, found), [key.id for key in found], limit)


@router.get("/{key}")
async def show_key(request: Request, key: str) -> KeyTold:
    """One key, by its id or name."""
    return key_told(await admin(request.scope).key(key))


@router.patch("/{key}")
async def change_key(request: Request, key: str, body: KeyChange) -> KeyTold:
    """Change what the body has; it counts for the next request."""
    return key_told(await admin(request.scope).change_key(key, body.changes()))


@router.post("/{key}/rotate")
async def rotate_key(request: Request, key: str, body: Rotation | None = None) -> KeyWithSecret:
    """Another secret for the same key; the former one works for `overlap` seconds more."""
    overlap = timedelta(seconds=(body or Rotation()).overlap)
    return key_with_secret(*await admin(request.scope).rotate_key(key, overlap))


@router.delete("/{key}")
async def revoke_key(request: Request, key: str) -> KeyTold:
    """End a key for ever; its books stay."""
    return key_told(await admin(request.scope).revoke_key(key))
