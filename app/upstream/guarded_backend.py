"""httpx's way to the network, with the guard in it: names are resolved here, once.

The address that was looked at is the one that is connected to. TLS is not concerned: it still
checks the certificate against the name.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

import anyio
import httpcore

from app.upstream.egress import AddressRefused, Egress


class _Refused(httpcore.ConnectError, AddressRefused):
    """Both, since httpcore passes errors on without their causes."""


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Resolves, asks the guard, and connects to what it lets pass, one address after the other."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect; each address gets its share of the time that is left."""
        ends = anyio.current_time() + (timeout if timeout is not None else float("inf"))
        addresses = await self._resolved(host, port, ends)
        failure: Exception = httpcore.ConnectError("no address")
        for number, address in enumerate(addresses):
            share = (ends - anyio.current_time()) / (len(addresses) - number)
            try:
                self._egress.check(address)
                return await self._network.connect_tcp(
                    address, port, max(share, 0), local_address, socket_options
                )
            except AddressRefused as error:
                failure = _Refused(str(error))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        """Wait, as httpcore does between its own tries."""
        await anyio.sleep(seconds)

    async def _resolved(self, host: str, port: int, ends: float) -> list[str]:
        try:
            with anyio.fail_after(ends - anyio.current_time()):
                found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("no answer from the resolver") from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        return list(dict.fromkeys(str(address[0]) for *_, address in found))
