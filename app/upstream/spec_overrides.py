"""What a model or one of its deployments sets otherwise than its upstream."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field

from app.fields import Duration, Spec
from app.upstream.spec_fields import DroppedField, FieldName, Headers, Usd
from app.upstream.spec_guards import (
    Breaker,
    Concurrency,
    breaker_of,
    concurrency_of,
    setting_over,
)
from app.upstream.spec_upstream import UpstreamSpec

_FLAGS = {"vision", "audio", "tools", "json_schema"}
_REPLACING = {"context", "max_output", "price"} | _FLAGS
"""What replaces what it is laid over; the rest joins with it."""


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


class Overrides(Spec):
    """Settings of calls, laid over the upstream's: objects field by field, `drop` adds to it."""

    context: Annotated[int | None, Field(ge=1)] = Field(
        default=None, description="Window in tokens; without it nothing is trimmed for this model."
    )
    max_output: Annotated[int | None, Field(ge=1)] = Field(
        default=None, description="The most tokens one answer can have."
    )
    price: PriceSpec | None = Field(
        default=None,
        description="What its tokens cost; by default the list price, where the vendor's own "
        "address and id are known.",
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
    breaker: Breaker | None = Field(
        default=None,
        description="When it is left alone because it keeps failing; by default as its upstream.",
    )
    concurrency: Concurrency | None = Field(
        default=None,
        description="How many calls it is sent at once; by default as its upstream.",
    )

    def over(self, upstream: UpstreamSpec) -> UpstreamSpec:
        """The upstream's settings with these laid over them."""
        return upstream.model_copy(update=_joined(self, upstream))

    def within(self, defaults: Overrides) -> Self:
        """These settings, with the defaults where they say nothing."""
        silent = (name for name in _REPLACING if getattr(self, name) is None)
        update = {name: getattr(defaults, name) for name in silent}
        return self.model_copy(update=_joined(self, defaults) | update)


def _joined(own: Overrides, other: Overrides | UpstreamSpec) -> dict[str, object]:
    timeouts = own.timeouts.model_dump(exclude_none=True)
    breaker: Breaker | None = setting_over(breaker_of, own.breaker, other.breaker)
    concurrency: Concurrency | None = setting_over(
        concurrency_of, own.concurrency, other.concurrency
    )
    return {
        "headers": other.headers | own.headers,
        "query": other.query | own.query,
        "extra_body": other.extra_body | own.extra_body,
        "drop": (*other.drop, *own.drop),
        "rename": other.rename | own.rename,
        "timeouts": other.timeouts.model_copy(update=timeouts),
        "breaker": breaker,
        "concurrency": concurrency,
        **own.model_dump(include=_FLAGS, exclude_none=True),
    }
