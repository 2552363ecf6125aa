"""Who the client is behind proxies that the operator trusts; nobody else's headers are believed.

Of what proxies add, only `X-Forwarded-For` is read: nothing here needs scheme, host or prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

from starlette.types import ASGIApp, Receive, Scope, Send

Network: TypeAlias = IPv4Network | IPv6Network


class Proxies:
    """Puts the client's address in the place of a trusted proxy's."""

    def __init__(self, app: ASGIApp, trusted: Sequence[Network]) -> None:
        self._app, self._trusted = app, tuple(trusted)
        self._is_trusted = lru_cache(maxsize=1024)(self._trusts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        client = scope.get("client")
        if self._trusted and scope["type"] == "http" and client:
            host = self._client_of(client[0], scope["headers"])
            if host != client[0]:
                scope = {**scope, "client": (host, 0)}
        await self._app(scope, receive, send)

    def _client_of(self, peer: str, headers: Sequence[tuple[bytes, bytes]]) -> str:
        """The last address that a trusted proxy vouches for, from the nearest one on."""
        written = b",".join(value for name, value in headers if name == b"x-forwarded-for")
        entries = written.split(b",")
        while entries and self._is_trusted(peer):
            address = _address(entries.pop())
            if address is None:
                break
            peer = str(address)
        return peer

    def _trusts(self, host: str) -> bool:
        address = _address(host.encode())
        return address is not None and any(address in network for network in self._trusted)


def _address(entry: bytes) -> IPv4Address | IPv6Address | None:
    """`192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`; None for anything else."""
    text = entry.decode("latin-1").strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
