"""Asks an upstream for its list of models: is it there, does it take our key, has it the model.

Also how connections are opened before the first request needs them. Costs no tokens.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import anyio
import orjson

from app.upstream.deployment import Deployment
from app.upstream.transport import ConnectTimeout, NotConnected, Refused, Response, TransportError

PROBE_SECONDS = 10.0
WARM_SECONDS = 5.0
_MAX_BYTES = 8 * 1024 * 1024
_SUCCESS = range(200, 300)
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Probe:
    """What is known of a deployment; None where the upstream does not say.

    `says` is a sentence for the operator; it holds no key and no text of the upstream's.
    """

    model: str
    upstream: str
    reachable: bool
    credentials: bool | None
    listed: bool | None
    says: str
    upstream_model: str = ""

    @property
    def is_usable(self) -> bool:
        """Nothing speaks against it."""
        return self.reachable and self.credentials is not False and self.listed is not False


async def probe(deployment: Deployment, *, deadline: float = PROBE_SECONDS) -> Probe:
    """Ask for the model list, within `deadline` seconds; never raises for what it finds."""
    status, body = 0, b""
    says = f"no answer in time from {deployment.address}"
    with anyio.move_on_after(deadline):
        try:
            status, body = await _list(deployment)
        except TransportError as error:
            says = f"{_cause(error)} at {deployment.address}"
    if not status:
        return _found(deployment, says, reachable=False)
    if status in {401, 403}:
        return _found(deployment, "refused the credentials", credentials=False)
    if status == _NOT_FOUND:
        says = "is there, but has no list of models (status 404): does base_url end in /v1?"
        return _found(deployment, says)
    if status not in _SUCCESS:
        return _found(deployment, f"is there, but lists no models (status {status})")
    ids = _ids(body)
    if not ids:
        return _found(deployment, "is there, but its list of models is empty", credentials=True)
    wanted = deployment.target.upstream_model
    listed = any(each == wanted or each.endswith(f"/{wanted}") for each in ids)
    says = "lists the model" if listed else "does not list the model"
    return _found(deployment, says, credentials=True, listed=listed)


async def warm_up(deployments: Iterable[Deployment], *, deadline: float = WARM_SECONDS) -> None:
    """Open the connections each upstream is configured to have at the start.

    One request per connection, all at once, so that none can use another's. What fails is left
    to the first call that needs it; after `deadline` seconds the start goes on.
    """
    upstreams = {(each.target.upstream, each.address): each for each in deployments if each.warm}
    with anyio.move_on_after(deadline):
        async with anyio.create_task_group() as tasks:
            for deployment in upstreams.values():
                for _ in range(deployment.warm):
                    tasks.start_soon(_open, deployment)


async def _open(deployment: Deployment) -> None:
    try:
        await _list(deployment)
    except TransportError:
        return


async def _list(deployment: Deployment) -> tuple[int, bytes]:
    response = await deployment.listing.get(deployment.headers)
    is_read = False
    try:
        body = await _body(response)
        is_read = True
        return response.status, body
    finally:
        await (response.finish() if is_read else response.abort())


async def _body(response: Response) -> bytes:
    pieces, size = [], 0
    while size < _MAX_BYTES and (data := await response.read()):
        pieces.append(data)
        size += len(data)
    return b"".join(pieces)


def _cause(error: TransportError) -> str:
    """What went wrong, in words; a client library wraps the system's error more than once."""
    if isinstance(error, Refused):
        return str(error)
    for each in _chain(error):
        if isinstance(each, OSError) and each.errno == errno.ECONNREFUSED:
            return "connection refused"
        if isinstance(each, socket.gaierror):
            return "unknown host"
        if isinstance(each, ssl.SSLError):
            return "no TLS connection"
    if isinstance(error, ConnectTimeout):
        return "no connection in time"
    return "no connection" if isinstance(error, NotConnected) else "no whole answer"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _found(
    deployment: Deployment,
    says: str,
    *,
    reachable: bool = True,
    credentials: bool | None = None,
    listed: bool | None = None,
) -> Probe:
    target = deployment.target
    known = (reachable, credentials, listed, says, target.upstream_model)
    return Probe(target.model, target.upstream, *known)


def _ids(body: bytes) -> list[str]:
    try:
        listing = orjson.loads(body)
    except orjson.JSONDecodeError:
        return []
    data = listing.get("data") if isinstance(listing, dict) else listing
    if not isinstance(data, list):
        return []
    found = [each.get("id") for each in data if isinstance(each, dict)]
    return [each for each in found if isinstance(each, str)]
