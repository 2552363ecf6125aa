"""The door: who calls, and whether the route that is asked for lets him. Before the body is read.

Where no key is needed, the checks of open mode stand in for one.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from app.access.caller import STATIC_RIGHTS, Caller, Right
from app.access.keyring import KeyRing
from app.access.keys import presented_key
from app.api import exchange
from app.api.middleware.open_mode import OpenMode
from app.api.paths import POLICY_VIOLATION
from app.api.rights import Anyone, Need, need_of
from app.errors import Forbidden, Unauthenticated

ANYBODY = Caller("", None, STATIC_RIGHTS)
"""Who calls in open mode: as an operator's own key, so without the right to make keys."""


class Authentication:
    """Raises Unauthenticated, Forbidden, and what the key ring and open mode raise."""

    def __init__(self, app: ASGIApp, keys: KeyRing, open_mode: OpenMode) -> None:
        self._app, self._keys, self._open_mode = app, keys, open_mode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return
        if scope["type"] == "http":
            need = need_of(scope)
            if need is not Anyone.OPEN:
                await self._admit(scope, need)
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope, need: Need | None) -> None:
        who = await self._who(scope)
        here = exchange.current(scope)
        here.caller, here.who, here.need = who.id, who, need
        if need is not Anyone.WITH_KEY and not (isinstance(need, Right) and who.may(need)):
            raise Forbidden(_refusal(need, who))

    async def _who(self, scope: Scope) -> Caller:
        if not self._keys.is_required:
            self._open_mode.check(scope)
            return ANYBODY
        presented = presented_key(
            exchange.header(scope, b"authorization"),
            exchange.header(scope, b"x-api-key"),
            exchange.header(scope, b"api-key"),
        )
        if presented is None:
            raise Unauthenticated(
                "No API key: send one as 'Authorization: Bearer KEY' or 'x-api-key: KEY'"
            )
        who = await self._keys.find(presented)
        if who is None:
            raise Unauthenticated("This API key is not known here")
        return who


def _refusal(need: Need | None, who: Caller) -> str:
    if need is Right.ADMIN and who.key is None:
        return "This needs a key with the right 'admin': `moa keys create NAME --rights admin`"
    return "This address is shut" if need is None else f"This key lacks the right '{need}'"
