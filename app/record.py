"""What happened in one request: the run, and one line per upstream call.

The engine and the upstream rooms write it; money, metrics, logs, headers and the terminal read
it, while the run is under way as well as after it. It knows no store and decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from app.protocol.usage import Usage

TOKENS_PER_PRICE = Decimal(1_000_000)
FREE = Decimal(0)


class Outcome(StrEnum):
    """How a call or a run ended."""

    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Degradation(StrEnum):
    """Why an answer is less than what its graph promises."""

    QUORUM_MISSED = "quorum_missed"
    SINGLE_REFERENCE = "single_reference"
    NO_REFERENCES = "no_references"
    FALLBACK = "fallback"
    BEST_REFERENCE = "best_reference"
    JUDGE_UNCLEAR = "judge_unclear"
    VOTE_WEAK = "vote_weak"
    STEP_FAILED = "step_failed"
    CAP_REACHED = "cap_reached"


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens; `cached_input` is None where cached tokens cost as others do."""

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None

    def of(self, usage: Usage) -> Decimal:
        """USD for these tokens; cached input tokens are priced as such where a price is set."""
        cached = self.input if self.cached_input is None else self.cached_input
        fresh = max(0, usage.prompt - usage.cached)
        total = fresh * self.input + usage.cached * cached + usage.completion * self.output
        return total / TOKENS_PER_PRICE


@dataclass(frozen=True, slots=True)
class Target:
    """The three names of what is called: the pool's, the operator's upstream and its model id."""

    model: str
    upstream: str
    upstream_model: str
    price: Price | None = None


@dataclass(slots=True)
class CallRecord:
    """One upstream call. Times are the run's clock in seconds; `usage` stays None if unbilled."""

    target: Target
    graph: str
    layer: int
    node: str
    sample: int
    started: float
    first_token: float | None = None
    ended: float | None = None
    outcome: Outcome = Outcome.RUNNING
    error_kind: str | None = None
    usage: Usage | None = None
    is_output: bool = False
    _cost: Decimal | None = None

    @property
    def cost(self) -> Decimal | None:
        """USD: 0 where nothing was billed, None where the price is unknown."""
        if self.usage is None:
            return FREE
        if self._cost is None and self.target.price is not None:
            self._cost = self.target.price.of(self.usage)  # which never changes once it is there
        return self._cost


@dataclass(frozen=True, slots=True)
class Note:
    """Something done to a request that its caller may want to know: cut, trimmed, dropped, skipped.

    `what` is from a closed list (see docs/glossary.md), `node` the node concerned, `detail` a
    number or a name.
    """

    what: str
    node: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Caps:
    """What one run may come to: upstream calls, USD, and a moment on the run's clock.

    `quorum` is the most answers any of its layers waits for.
    """

    max_calls: int | None = None
    max_cost: Decimal | None = None
    until: float | None = None
    quorum: int | None = None

    def tightened(self, other: Caps) -> Caps:
        """The tighter of the two, field by field."""
        return Caps(
            _least(self.max_calls, other.max_calls),
            _least(self.max_cost, other.max_cost),
            _least(self.until, other.until),
            _least(self.quorum, other.quorum),
        )


NO_CAPS = Caps()


_Cap = TypeVar("_Cap", int, float, Decimal)


def _least(one: _Cap | None, other: _Cap | None) -> _Cap | None:
    return min((cap for cap in (one, other) if cap is not None), default=None)


@dataclass(slots=True)
class RunRecord:
    """One request's way through the gateway; `model` is what served it, aliases resolved.

    `promised` is how many upstream calls the run has begun or is sure to make. `is_reserved`: money
    is set aside for as many tokens as it may write, so every answer has a cap. `repeats` counts
    the calls that put a question once more.
    """

    run_id: str
    model: str
    clock: Callable[[], float]
    hops: int = 0
    seed: int = 0
    caller: str = ""
    caps: Caps = NO_CAPS
    promised: int = 0
    is_reserved: bool = False
    repeats: int = 0
    started: float = 0.0
    ended: float | None = None
    outcome: Outcome = Outcome.RUNNING
    error_kind: str | None = None
    calls: list[CallRecord] = field(default_factory=list)
    degraded: list[Degradation] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def degrade(self, reason: Degradation) -> None:
        """Declare that the answer is less than what the graph promises; each reason once."""
        if reason not in self.degraded:
            self.degraded.append(reason)

    def note(self, what: str, node: str, detail: object = "") -> None:
        """Write down what was done to a node's request or reference."""
        note = Note(what, node, str(detail))
        if note not in self.notes:
            self.notes.append(note)

    @property
    def first_token(self) -> float | None:
        """When the first call that writes the answer began to; None where none has."""
        firsts = [c.first_token for c in self.calls if c.is_output and c.first_token is not None]
        return min(firsts, default=None)

    def billed(self) -> Iterator[CallRecord]:
        """The calls an upstream charges for, as far as we know."""
        return (call for call in self.calls if call.usage is not None)

    @property
    def is_billed(self) -> bool:
        """Whether any call has cost something, as far as we know."""
        return any(True for _ in self.billed())

    def usage(self) -> Usage:
        """All billed tokens of the run."""
        return sum((call.usage for call in self.calls if call.usage), Usage())

    def output_usage(self) -> Usage:
        """The billed tokens of the calls that wrote the answer."""
        return sum((c.usage for c in self.calls if c.usage and c.is_output), Usage())

    def close(self, outcome: Outcome, error_kind: str | None = None) -> None:
        """End the run; the first ending counts."""
        if self.ended is None:
            self.ended, self.outcome, self.error_kind = self.clock(), outcome, error_kind


@dataclass(frozen=True, slots=True)
class Step:
    """The point of a run that an upstream call is made for; handed down to every `ChatModel`.

    `graph` is the path of nested graphs (`outer/node/inner`), empty for a plain pool; `layer`
    counts from 1; `is_output` says that the caller sees these tokens; `until` is the moment, on the
    run's clock, at which nobody waits for this step any more.
    """

    run: RunRecord
    graph: str = ""
    layer: int = 1
    node: str = ""
    sample: int = 0
    is_output: bool = True
    until: float | None = None

    def time_left(self) -> float:
        """Seconds in which an answer is still of use; infinite where nothing was said."""
        ends = _least(self.until, self.run.caps.until)
        return math.inf if ends is None else ends - self.run.clock()

    def begin(self, target: Target) -> CallRecord:
        """Open the line of one upstream call."""
        call = CallRecord(
            target,
            self.graph,
            self.layer,
            self.node,
            self.sample,
            self.run.clock(),
            is_output=self.is_output,
        )
        self.run.calls.append(call)
        return call

    def end(
        self,
        call: CallRecord,
        outcome: Outcome,
        *,
        usage: Usage | None = None,
        error_kind: str | None = None,
    ) -> None:
        """Close the line; a call is booked exactly once, whatever happens."""
        if call.ended is None:
            call.ended = self.run.clock()
            call.outcome, call.usage, call.error_kind = outcome, usage, error_kind
