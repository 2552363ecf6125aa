"""How the guards around calls are written: circuit breaker, concurrency limit and hedge.

Each has short forms. In a file `off` and `on` are text, as YAML 1.2 has it, never booleans.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import Discriminator, Field, Tag

from app.fields import Duration, Spec

Some = TypeVar("Some", bound=Spec)
Seconds: TypeAlias = Annotated[Duration, Field(gt=0)]
MOST_RETRIES = 5
Retries: TypeAlias = Annotated[int, Field(ge=0, le=MOST_RETRIES)]


class BreakerSpec(Spec):
    """When a deployment that keeps failing is left alone, and for how long.

    Its circuit opens once a `window` holds so many failures and such a `share` of failed calls.
    After a `rest` one call is let through; each time it fails, the rest doubles. Rate limits and
    refused requests are no failures.
    """

    failures: Annotated[int, Field(ge=1)] = Field(
        default=5, description="The least failures in a window that open the circuit."
    )
    share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.5, description="The least share of the calls in a window that failed."
    )
    window: Seconds = Field(default=10.0, description="How far back calls count.")
    rest: Seconds = Field(default=5.0, description="How long no call is made at first.")
    longest_rest: Seconds = Field(default=60.0, description="The longest a rest can become.")


class ConcurrencySpec(Spec):
    """How many calls a deployment is sent at once; what is over waits its turn, up to a point.

    Each worker process counts for itself.
    """

    limit: Annotated[int, Field(ge=1)] = Field(description="Calls in flight at once.")
    queue: Annotated[int, Field(ge=0)] = Field(
        default_factory=lambda data: data["limit"],
        description="Calls that may wait for a place; by default as many as `limit`.",
    )
    patience: Seconds = Field(default=10.0, description="The longest a call waits for a place.")


class HedgeSpec(Spec):
    """When a second deployment is asked the same, because the first is slower than it should be.

    Dean and Barroso, "The Tail at Scale", CACM 56(2), 2013: the tail goes for a few more calls.
    """

    quantile: Annotated[float, Field(ge=0.5, lt=1)] = Field(
        default=0.95,
        description="Share of a deployment's recent calls that are faster than the wait.",
    )
    least: Annotated[Duration, Field(ge=0)] = Field(
        default=0.2, description="The wait is never shorter than this."
    )


def _form_of(value: object) -> str:
    if isinstance(value, str):
        return "word"
    return "number" if isinstance(value, int | float) else "long"


def _word_or_long(value: object) -> str:
    return "word" if isinstance(value, str) else "long"


# Told apart before they are checked, so that what is wrong with one form is not told of all.
Breaker: TypeAlias = Annotated[
    Annotated[Literal["off"], Tag("word")] | Annotated[BreakerSpec, Tag("long")],
    Discriminator(_word_or_long),
]
"""`off`, or when the circuit opens."""

Concurrency: TypeAlias = Annotated[
    Annotated[Literal["off"], Tag("word")]
    | Annotated[int, Field(ge=1), Tag("number")]
    | Annotated[ConcurrencySpec, Tag("long")],
    Discriminator(_form_of),
]
"""`off`, a limit, or a limit with its queue."""

Hedge: TypeAlias = Annotated[
    Annotated[Literal["off", "on"], Tag("word")] | Annotated[HedgeSpec, Tag("long")],
    Discriminator(_word_or_long),
]
"""`off`, `on` or when a second deployment is asked."""

Setting = TypeVar("Setting", Breaker, Concurrency, Hedge)


def breaker_of(setting: Breaker) -> BreakerSpec | None:
    """What a setting means; None is off."""
    return None if isinstance(setting, str) else setting


def concurrency_of(setting: Concurrency) -> ConcurrencySpec | None:
    """What a setting means; None is off."""
    if isinstance(setting, int):
        return ConcurrencySpec(limit=setting)
    return None if isinstance(setting, str) else setting


def hedge_of(setting: Hedge) -> HedgeSpec | None:
    """What a setting means; None is off."""
    if isinstance(setting, str):
        return HedgeSpec() if setting == "on" else None
    return setting


def laid_over(own: Some | None, other: Some | None) -> Some | None:
    """A spec over another, field by field as far as they are written; off stays off."""
    if own is None or other is None:
        return own
    written = other.model_dump(exclude_unset=True) | own.model_dump(exclude_unset=True)
    return type(own)(**written)


def setting_over(
    of: Callable[[Setting], Some | None], own: Setting | None, other: Setting | None
) -> Setting | Some | Literal["off"] | None:
    """One place's setting over another's; None is where a place says nothing."""
    if own is None or other is None:
        return other if own is None else own
    return laid_over(of(own), of(other)) or "off"
