"""Without keys: only this machine may call, and no web page may make its browser call for it.

A page can send requests to loopback, also under a host name of its own that resolves to it (DNS
rebinding). So the host must be a loopback name, a page's origin must be that same host, and a body
must be declared as JSON, which a page cannot do without a preflight that is never answered.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

from starlette.types import Scope

from app.api import exchange
from app.errors import Forbidden, InvalidRequest, UnsupportedMedia

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]*)?", re.IGNORECASE)
"""RFC 9110 §7.2 without what no host of ours has: no user, no path, no escapes."""


@dataclass(frozen=True, slots=True)
class OpenMode:
    """Refuses what comes from elsewhere; `insecure` drops the checks of host and client."""

    insecure: bool

    def check(self, scope: Scope) -> None:
        """Raise Forbidden, UnsupportedMedia, or InvalidRequest for more than one Host."""
        host = _host(scope)
        if not self.insecure:
            client = scope.get("client")
            if client and not is_loopback(client[0]):
                raise Forbidden("Without API keys only this machine may call", code="open_mode")
            if not is_loopback(hostname(host)):
                raise Forbidden(
                    "Without API keys only a loopback host name is accepted", code="open_mode"
                )
        origin = exchange.header(scope, b"origin")
        if origin is not None and not _same_origin(origin.decode("latin-1"), host):
            raise Forbidden("Web pages of other origins may not call", code="origin_not_allowed")
        # A page needs a preflight for every other method with a body.
        if scope["method"] == "POST" and not _is_json(scope):
            raise UnsupportedMedia("Send the body as 'Content-Type: application/json'")


@lru_cache(maxsize=256)
def is_loopback(name: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=256)
def hostname(host: str) -> str:
    """The name in a Host header, without the port; empty if it is none."""
    match = _HOST.fullmatch(host)
    return (match[1] or match[2]).lower() if match else ""


def _host(scope: Scope) -> str:
    hosts: list[bytes] = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) > 1:
        raise InvalidRequest("The request has more than one Host header")
    return hosts[0].decode("latin-1") if hosts else ""


def _same_origin(origin: str, host: str) -> bool:
    _, separator, origin_host = origin.partition("://")
    return bool(separator) and origin_host.lower() == host.lower()


def _is_json(scope: Scope) -> bool:
    declared = exchange.header(scope, b"content-type") or b""
    media = declared.split(b";", 1)[0].strip().lower()
    return media == b"application/json" or (
        media.startswith(b"application/") and media.endswith(b"+json")
    )
