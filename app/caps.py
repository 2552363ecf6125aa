"""Whether a run has room for one more upstream call: its caps held against its record.

For whoever asks again: a fallback, a retry, a hedge. Nothing under way is ever cancelled here.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum

from app.record import FREE, CallRecord, Caps, Degradation, Step


class Cap(StrEnum):
    """What a run has too little of."""

    TIME = "time"
    CALLS = "calls"
    COST = "cost"


def short_of(caps: Caps, calls: Sequence[CallRecord], wanted: int) -> Cap | None:
    """Which cap leaves no room for so many calls after those begun; None where there is room.

    Money counts as far as prices are known.
    """
    if caps.max_calls is not None and len(calls) + wanted > caps.max_calls:
        return Cap.CALLS
    if caps.max_cost is not None and wanted and known_cost(calls) >= caps.max_cost:
        return Cap.COST
    return None


def known_cost(calls: Sequence[CallRecord]) -> Decimal:
    """USD of these calls, as far as prices are known."""
    return sum((call.cost or FREE for call in calls), FREE)


def may_ask_again(step: Step) -> bool:
    """Whether there is room for one more call; an inner node leaves room for the output's."""
    return _has_room(step, 1 if step.is_output else 2)


def may_fall_back(step: Step) -> bool:
    """Whether there is room for a fallback besides the calls that the run is sure to make."""
    return _has_room(step, _with_owed(step))


def may_repeat(step: Step) -> bool:
    """Whether a question may be put once more to a pool, or to one that stands in for it.

    Where money is set aside there is some for each question once: only a call that cost nothing
    may be made again.
    """
    return _costs_no_more(step) and _has_room(step, _with_owed(step))


def may_hedge(step: Step) -> bool:
    """The same for a call that can be spared: where there is no room, nothing is less for it."""
    has_room = short_of(step.run.caps, step.run.calls, _with_owed(step)) is None
    return has_room and _costs_no_more(step)


def enter_repeat(step: Step) -> None:
    """Write down that a question is put once more."""
    step.run.promised += 1
    step.run.repeats += 1


def _costs_no_more(step: Step) -> bool:
    run = step.run
    if not run.is_reserved:
        return True
    unbilled = sum(call.ended is not None and call.usage is None for call in run.calls)
    return run.repeats < unbilled


def _with_owed(step: Step) -> int:
    owed = step.run.promised + 1 - len(step.run.calls)
    return max(owed, 1 if step.is_output else 2)


def _has_room(step: Step, wanted: int) -> bool:
    run = step.run
    cap = short_of(run.caps, run.calls, wanted)
    if cap is not None:
        run.note("cap_reached", step.node, cap)
        run.degrade(Degradation.CAP_REACHED)
    return cap is None
