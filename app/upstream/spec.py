"""How upstreams and models are written in the configuration, and how the two join.

Settings whose behaviour does not exist yet (retries, breaker, concurrency …) have no field here.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.fields import Duration, Spec
from app.upstream.local_spec import LlamaCppSpec
from app.upstream.spec_fields import (
    ApiKey,
    BaseUrl,
    DroppedField,
    FieldName,
    HeaderName,
    Headers,
    Proxy,
    Usd,
)


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


class TimeoutOverrides(Spec):
    """The timeouts of one model that differ from its upstream's."""

    connect: Annotated[Duration | None, Field(gt=0)] = Field(
        default=None, description="Until the connection stands, TLS included."
    )
    first_token: Annotated[Duration | None, Field(gt=0)] = Field(
        default=None, description="From the request to the first event, or to an unstreamed answer."
    )
    idle: Annotated[Duration | None, Field(gt=0)] = Field(
        default=None, description="Between two reads of a stream under way; comments count as life."
    )


class PriceSpec(Spec):
    """USD per million tokens; without `cached_input`, cached tokens cost as others do."""

    input: Usd = Field(description="USD per million prompt tokens.")
    output: Usd = Field(description="USD per million tokens written.")
    cached_input: Usd | None = Field(
        default=None, description="USD per million cached prompt tokens; by default as `input`."
    )


class UpstreamSpec(Spec):
    """An OpenAI-compatible server, by `base_url` (up to and with `/v1`) or embedded.

    `auth_header` names the header that carries `api_key`: `authorization` gets `Bearer KEY`, any
    other gets the key alone. `extra_body` fields are written over the caller's; `drop` fields are
    not sent, `rename` maps our name to the upstream's. `ca_file` (PEM) is trusted besides the
    system's authorities. A capability that is not declared counts as there. `warm` connections
    are opened at the start. `optional`: left out when a variable it names is unset.
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
        default_factory=dict, description="Query parameters of every request."
    )
    extra_body: dict[FieldName, object] = Field(
        default_factory=dict, description="Body fields written over the caller's."
    )
    drop: tuple[DroppedField, ...] = Field(default=(), description="Body fields that are not sent.")
    rename: dict[FieldName, FieldName] = Field(
        default_factory=dict, description="Body fields by another name, ours on the left."
    )
    proxy: Proxy | None = Field(default=None, description="HTTP proxy that requests go through.")
    ca_file: str | None = Field(
        default=None, description="PEM file of authorities trusted besides the system's."
    )
    timeouts: Timeouts = Field(default=Timeouts(), description="How long one call may be silent.")
    transport: Literal["aiohttp", "httpx"] = Field(
        default="aiohttp", description="The HTTP client; httpx is slower under fan-out."
    )
    warm: Annotated[int, Field(ge=0, le=1024)] = Field(
        default=0, description="Connections opened at the start."
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
        if self.api_key is not None and self.auth_header in self.headers:
            raise ValueError(f"headers must not repeat the auth_header {self.auth_header}")
        return self


class ModelSpec(Spec):
    """A deployment: one model of one upstream, under the name clients and graphs use.

    `model` is the upstream's own id. `context` and `max_output` are in tokens; without `context`
    nothing is ever trimmed for this model. Every other field overrides its upstream's: objects
    field by field, `drop` adds to it.
    """

    upstream: Annotated[str, Field(min_length=1)] = Field(
        description="The upstream that serves it."
    )
    model: Annotated[str, Field(min_length=1)] = Field(
        description="The upstream's own id of the model."
    )
    context: Annotated[int | None, Field(ge=1)] = Field(
        default=None, description="Window in tokens; without it nothing is trimmed for this model."
    )
    max_output: Annotated[int | None, Field(ge=1)] = Field(
        default=None, description="The most tokens one answer can have."
    )
    price: PriceSpec | None = Field(
        default=None, description="What its tokens cost; unknown if left out."
    )
    strength: float | None = Field(
        default=None,
        description="How good it is, on a scale of your own such as an arena's scores; only "
        "`moa check` reads it, and warns of an aggregator below its proposers.",
    )
    headers: Headers = Field(
        default_factory=dict, repr=False, description="Further headers, over the upstream's."
    )
    query: dict[str, str] = Field(
        default_factory=dict, description="Further query parameters, over the upstream's."
    )
    extra_body: dict[FieldName, object] = Field(
        default_factory=dict, description="Further body fields, over the upstream's."
    )
    drop: tuple[DroppedField, ...] = Field(
        default=(), description="Body fields that are not sent, besides the upstream's."
    )
    rename: dict[FieldName, FieldName] = Field(
        default_factory=dict, description="Body fields by another name, over the upstream's."
    )
    timeouts: TimeoutOverrides = Field(
        default=TimeoutOverrides(), description="Timeouts that differ from the upstream's."
    )
    vision: bool | None = Field(
        default=None, description="Whether it sees images; by default as its upstream."
    )
    audio: bool | None = Field(
        default=None, description="Whether it hears audio; by default as its upstream."
    )
    tools: bool | None = Field(
        default=None, description="Whether it calls tools; by default as its upstream."
    )
    json_schema: bool | None = Field(
        default=None, description="Whether it keeps to a JSON schema; by default as its upstream."
    )

    def over(self, upstream: UpstreamSpec) -> UpstreamSpec:
        """The upstream's settings with this model's laid over them."""
        own_timeouts = self.timeouts.model_dump(exclude_none=True)
        flags = self.model_dump(
            include={"vision", "audio", "tools", "json_schema"}, exclude_none=True
        )
        return upstream.model_copy(
            update={
                "headers": upstream.headers | self.headers,
                "query": upstream.query | self.query,
                "extra_body": upstream.extra_body | self.extra_body,
                "drop": (*upstream.drop, *self.drop),
                "rename": upstream.rename | self.rename,
                "timeouts": upstream.timeouts.model_copy(update=own_timeouts),
                **flags,
            }
        )
