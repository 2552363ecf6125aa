"""A record in the words of the wire: usage, the `moa` extension, headers. Reads, never writes."""

from __future__ import annotations

from decimal import Decimal

from app.access.pricing import cost_of_call, cost_of_run
from app.protocol.json_types import JsonObject
from app.record import CallRecord, RunRecord


def usage(record: RunRecord, *, answer_only: bool) -> JsonObject:
    """OpenAI's `usage`: all billed tokens or the answer's only, and the `cost` of the whole run."""
    counted = record.output_usage() if answer_only else record.usage()
    return {**counted.to_wire(), "cost": _number(cost_of_run(record))}


def summary(record: RunRecord) -> JsonObject:
    """Which run it was, and what the answer lacks."""
    return {"run_id": record.run_id, "degraded": list(record.degraded)}


def run(record: RunRecord) -> JsonObject:
    """The summary, with cost, notes and one line per upstream call."""
    return {
        **summary(record),
        "cost": _number(cost_of_run(record)),
        "seed": record.seed,
        "caps": _caps(record),
        "notes": [
            {"what": note.what, "node": note.node, "detail": note.detail} for note in record.notes
        ],
        "calls": [_call(record, call) for call in record.calls],
    }


def headers(record: RunRecord) -> dict[str, str]:
    """`x-moa-run-id`, and what is known of cost and degradation."""
    found = {"x-moa-run-id": record.run_id}
    if record.degraded:
        found["x-moa-degraded"] = ",".join(record.degraded)
    if record.ended is not None and (cost := cost_of_run(record)) is not None:
        found["x-moa-cost"] = f"{cost:f}"
    return found


def _call(record: RunRecord, call: CallRecord) -> JsonObject:
    return {
        "graph": call.graph,
        "layer": call.layer,
        "node": call.node,
        "sample": call.sample,
        "model": call.target.model,
        "outcome": call.outcome,
        "error": call.error_kind,
        "started": _seconds(record, call.started),
        "first_token": _seconds(record, call.first_token),
        "ended": _seconds(record, call.ended),
        "usage": None if call.usage is None else call.usage.to_wire(),
        "estimated": call.usage is not None and call.usage.estimated,
        "cost": _number(cost_of_call(call)),
    }


def _caps(record: RunRecord) -> JsonObject:
    caps = record.caps
    return {
        "max_calls": caps.max_calls,
        "max_cost": _number(caps.max_cost),
        "timeout": _seconds(record, caps.until),
        "quorum": caps.quorum,
    }


def _seconds(record: RunRecord, moment: float | None) -> float | None:
    """Seconds since the run began, to the tenth of a millisecond."""
    return None if moment is None else round(moment - record.started, 4)


def _number(cost: Decimal | None) -> float | None:
    return None if cost is None else float(cost)
