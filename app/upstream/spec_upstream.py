"""How an upstream is written in the configuration."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from app.fields import Duration, Spec
from app.upstream.egress import is_forbidden
from app.upstream.local_spec import LlamaCppSpec
from app.upstream.spec_fields import (
    ApiKey,
    BaseUrl,
    DroppedField,
    FieldName,
    HeaderName,
    Headers,
    Proxy,
)
from app.upstream.spec_guards import Breaker, BreakerSpec, Concurrency, Hedge, Retries


class Timeouts(Spec):
    """How long one upstream call may be silent, in seconds.

    `connect` (10): the usual first TCP retransmissions (1, 2, 4 s) and a TLS handshake fit into
    it. `first_token` (120): from the request to the first event; long prompts and hidden
    reasoning are silent for a minute and more, and an answer that is not streamed is silent until
    it is whole. `idle` (60): between two reads of a stream under way; keep-alive comments count
    as life. None of the three is the time a caller waits: layers and requests have deadlines.
    """

    connect: Annotated[Duration, Field(gt=0)] = Field(
        default=10.0, description="Until the connection stands, TLS included."
    )
    first_token: Annotated[Duration, Field(gt=0)] = Field(
        default=120.0,
        description="From the request to the first event, or to an unstreamed answer.",
    )
    idle: Annotated[Duration, Field(gt=0)] = Field(
        default=60.0, description="Between two reads of a stream under way; comments count as life."
    )


class UpstreamSpec(Spec):
    """An OpenAI-compatible server, by `base_url` (up to and with `/v1`) or embedded.

    `auth_header` names the header that carries `api_key`: `authorization` gets `Bearer KEY`, any
    other gets the key alone. `extra_body` fields are written over the caller's; `drop` fields are
    not sent, `rename` maps our name to the upstream's. `ca_file` (PEM) is trusted besides the
    system's authorities. A capability that is not declared counts as there. `warm` connections
    are opened at the start. Its models have its `retries`, `breaker`, `concurrency` and `hedge`
    unless they set their own. `optional`: left out when a variable it names is unset.
    """

    base_url: BaseUrl | None = Field(
        default=None, description="Address up to and with `/v1`, without credentials or query."
    )
    llama_cpp: LlamaCppSpec | None = Field(
        default=None, description="An embedded llama.cpp server instead of an address."
    )
    api_key: ApiKey | None = Field(
        default=None, description="The key, as a rule `${NAME}`, a variable."
    )
    auth_header: HeaderName = Field(
        default="authorization",
        description="Header that carries the key: `authorization` gets `Bearer KEY`.",
    )
    headers: Headers = Field(
        default_factory=dict, repr=False, description="Further headers of every request."
    )
    query: dict[str, str] = Field(
        default_factory=dict, repr=False, description="Query parameters of every request."
    )
    extra_body: dict[FieldName, object] = Field(
        default_factory=dict, repr=False, description="Body fields written over the caller's."
    )
    drop: tuple[DroppedField, ...] = Field(default=(), description="Body fields that are not sent.")
    rename: dict[FieldName, FieldName] = Field(
        default_factory=dict, description="Body fields by another name, ours on the left."
    )
    proxy: Proxy | None = Field(default=None, description="HTTP proxy that requests go through.")
    ca_file: str | None = Field(
        default=None, description="PEM file of authorities trusted besides the system's."
    )
    private: bool | None = Field(
        default=None,
        description="Whether its name may resolve to a private address; by default names that "
        "say so may, see docs/security.md.",
    )
    timeouts: Timeouts = Field(default=Timeouts(), description="How long one call may be silent.")
    transport: Literal["aiohttp", "httpx"] = Field(
        default="aiohttp", description="The HTTP client; httpx is slower under fan-out."
    )
    warm: Annotated[int, Field(ge=0, le=1024)] = Field(
        default=0, description="Connections opened at the start."
    )
    retries: Retries = Field(
        default=2, description="Further tries of a call that failed before its first token."
    )
    breaker: Breaker = Field(
        default=BreakerSpec(),
        description="When a deployment that keeps failing is left alone; on by default.",
    )
    concurrency: Concurrency = Field(
        default="off", description="How many calls each of its deployments is sent at once."
    )
    hedge: Hedge = Field(
        default="off",
        description="When a pool asks a second deployment the same; `on` for the defaults.",
    )
    optional: bool = Field(
        default=False,
        description="Leave it out, and all that needs it, if a variable it names is unset.",
    )
    vision: bool = Field(default=True, description="Whether its models see images.")
    audio: bool = Field(default=True, description="Whether its models hear audio.")
    tools: bool = Field(default=True, description="Whether its models call tools.")
    json_schema: bool = Field(default=True, description="Whether its models keep to a JSON schema.")

    @model_validator(mode="after")
    def _is_one_server(self) -> Self:
        if (self.base_url is None) == (self.llama_cpp is None):
            raise ValueError("expected exactly one of base_url and llama_cpp")
        if self.base_url is not None and is_forbidden(urlsplit(self.base_url).hostname or ""):
            raise ValueError("base_url must not be a link-local or metadata address")
        if self.api_key is not None and self.auth_header in self.headers:
            raise ValueError(f"headers must not repeat the auth_header {self.auth_header}")
        return self
