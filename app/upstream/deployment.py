"""From configuration to something that answers: connection pools, and deployments on them.

The one place that puts a deployment's parts together; what each part does is elsewhere.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app import __version__
from app.errors import ConfigError
from app.interfaces import Abilities, ChatModel, Emit
from app.protocol.chat import ChatRequest
from app.protocol.json_types import JsonObject
from app.record import Step, Target
from app.upstream.aiohttp_transport import AiohttpTransport
from app.upstream.egress import Egress, egress_to
from app.upstream.embeddings import EmbeddingsCall
from app.upstream.errors import ErrorTranslator
from app.upstream.openai import OpenAICompatible
from app.upstream.prices import price_of
from app.upstream.request_body import BodyWriter
from app.upstream.spec import DeploymentSpec, UpstreamSpec
from app.upstream.transport import Endpoint, Transport, tls_context

if TYPE_CHECKING:
    from app.upstream.httpx_transport import HttpxTransport

_SHORTEST_SECRET = 6


class Transports:
    """The process's connection pools: one per client library, proxy, CA file and guard.

    All mutable state: the pools opened so far. `only` stands in for all of them.
    """

    def __init__(self, only: Transport | None = None) -> None:
        self._only = only
        self._open: dict[tuple[str, str | None, str | None, Egress], Transport] = {}

    def of(self, name: str, upstream: UpstreamSpec) -> Transport:
        """The pool an upstream's calls share; raises ConfigError if its CA file is unusable."""
        if self._only is not None:
            return self._only
        proxy = upstream.proxy.get_secret_value() if upstream.proxy else None
        egress = egress_to(upstream.base_url, private=upstream.private, is_proxied=bool(proxy))
        key = (upstream.transport, proxy, upstream.ca_file, egress)
        if key not in self._open:
            kind = AiohttpTransport if upstream.transport == "aiohttp" else _httpx()
            self._open[key] = kind(_trust(name, upstream.ca_file), proxy, egress)
        return self._open[key]

    async def aclose(self) -> None:
        """Close every connection of every pool."""
        for transport in self._open.values():
            await transport.aclose()


@asynccontextmanager
async def open_transports(only: Transport | None = None) -> AsyncIterator[Transports]:
    """The pools for as long as the process serves; `only` is for tests, and stays open."""
    transports = Transports(only)
    try:
        yield transports
    finally:
        await transports.aclose()


@dataclass(frozen=True, slots=True)
class Deployment:
    """One model of one upstream; `model` is the bare call, which `assembly` puts the guards around.

    Whether its upstream makes embeddings, only the upstream knows: any deployment can be asked.
    `listing` and `headers` are for probes and for opening `warm` connections; `address` is its
    base URL, for people.
    """

    target: Target
    model: ChatModel
    embeddings: EmbeddingsCall
    listing: Endpoint
    headers: Mapping[str, str] = field(repr=False)
    warm: int = 0
    address: str = ""

    @property
    def name(self) -> str:
        """The name it is configured under."""
        return self.target.model

    @property
    def abilities(self) -> Abilities:
        """What it can take."""
        return self.model.abilities

    async def answer(self, request: ChatRequest, step: Step, emit: Emit) -> None:
        """Answer, as every `ChatModel` does."""
        await self.model.answer(request, step, emit)

    async def embed(self, texts: Sequence[str], step: Step) -> list[list[float]]:
        """Turn texts into vectors, as every `Embedder` does."""
        return await self.embeddings.embed(texts, step)

    async def pass_on(self, params: Mapping[str, object], step: Step) -> list[JsonObject]:
        """Have a client's own request for embeddings answered, as every `EmbeddingServer` does."""
        return await self.embeddings.pass_on(params, step)


def build_deployment(
    name: str,
    model: DeploymentSpec,
    upstream_name: str,
    upstream: UpstreamSpec,
    transports: Transports,
    *,
    base_url: str | None = None,
) -> Deployment:
    """A deployment; `base_url` is that of an embedded server. Opens no connection.

    Raises ConfigError for a CA file that cannot be used or an embedded server without address.
    """
    settings = model.over(upstream)
    address = base_url or settings.base_url
    if address is None:
        raise ConfigError("the embedded server has no address", path=f"upstreams.{upstream_name}")
    transport = transports.of(upstream_name, upstream)
    target = Target(name, upstream_name, model.model, price_of(model, upstream).price)
    headers = _headers(settings)

    def endpoint(path: str) -> Endpoint:
        return transport.endpoint(address.rstrip("/") + path, settings.query, settings.timeouts)

    errors = ErrorTranslator(upstream_name, _secrets(settings))
    body = BodyWriter(model.model, settings)
    call = OpenAICompatible(
        target,
        _abilities(model, settings),
        endpoint("/chat/completions"),
        headers=headers,
        body=body,
        errors=errors,
        first_token=settings.timeouts.first_token,
    )
    embeddings = EmbeddingsCall(
        target,
        endpoint("/embeddings"),
        headers=headers,
        errors=errors,
        deadline=settings.timeouts.first_token,
        context=model.context,
        fields=body.fields,
    )
    listing = endpoint("/models")
    return Deployment(target, call, embeddings, listing, headers, upstream.warm, address)


def _httpx() -> type[HttpxTransport]:
    """6 MB that only whoever asks for it needs."""
    from app.upstream.httpx_transport import HttpxTransport  # noqa: PLC0415

    return HttpxTransport


def _headers(settings: UpstreamSpec) -> dict[str, str]:
    """Every header of a call but the hop count. Compression would only hold tokens back."""
    headers = {
        "accept": "application/json, text/event-stream",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": f"moa-gateway/{__version__}",
        **settings.headers,
    }
    if settings.api_key is not None:
        key = settings.api_key.get_secret_value()
        is_bearer = settings.auth_header == "authorization"
        headers[settings.auth_header] = f"Bearer {key}" if is_bearer else key
    return headers


def _abilities(model: DeploymentSpec, settings: UpstreamSpec) -> Abilities:
    return Abilities(
        context=model.context,
        max_output=model.max_output,
        vision=settings.vision,
        audio=settings.audio,
        tools=settings.tools,
        json_schema=settings.json_schema,
    )


def _secrets(settings: UpstreamSpec) -> tuple[str, ...]:
    """What must not appear in a log line: keys, header values, the proxy's password."""
    values = [*settings.headers.values(), *settings.query.values()]
    if settings.api_key is not None:
        values.append(settings.api_key.get_secret_value())
    if settings.proxy is not None:
        values.append(urlsplit(settings.proxy.get_secret_value()).password or "")
    found = {value for value in values if len(value) >= _SHORTEST_SECRET}
    return tuple(sorted(found, key=len, reverse=True))


def _trust(upstream_name: str, ca_file: str | None) -> ssl.SSLContext | None:
    if ca_file is None:
        return None
    try:
        return tls_context(ca_file)
    except OSError as error:
        raise ConfigError(
            f"{ca_file} cannot be read as PEM certificates ({type(error).__name__})",
            path=f"upstreams.{upstream_name}.ca_file",
        ) from error
