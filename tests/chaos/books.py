"""The gateway's records against the upstream's log: every call booked, once, as what it was."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from app.record import CallRecord, Outcome, RunRecord
from app.upstream.fake_server import Asked, Ending
from tests.chaos.crowd import End, Request
from tests.chaos.faults import Planned

LATE = 2.0
"""Seconds after the end of a request in which its last upstream exchange must be over: an answer's
body may linger for half a second, and the machine may be busy."""


def played(log: Iterable[Asked], calls: Sequence[Planned]) -> list[tuple[Asked, Planned]]:
    """Each exchange of the log with what was planned for it; both are in order of arrival."""
    heard = [asked for asked in log if _is_whole(asked)]
    pairs = list(zip(heard, calls, strict=True))
    assert all(asked.model == call.model for asked, call in pairs)
    return pairs


def _is_whole(asked: Asked) -> bool:
    try:
        return bool(asked.model)
    except (ValueError, KeyError):
        return False


def errors(
    requests: Sequence[Request],
    runs: Mapping[str, Sequence[RunRecord]],
    exchanges: Sequence[tuple[Asked, Planned]],
) -> list[str]:
    """One sentence for whatever does not agree."""
    by_request: dict[str, list[tuple[Asked, Planned]]] = defaultdict(list)
    for pair in exchanges:
        by_request[pair[1].request].append(pair)
    found: list[str] = []
    for request in requests:
        records = runs.get(request.name, ())
        heard = by_request[request.name]
        said = [
            *_run_errors(request, records),
            *_call_errors([call for run in records for call in run.calls], heard),
            *_late(request, heard),
            *_nothing(request, heard),
        ]
        found += (f"{request.name} ({request.model}, {request.end}): {each}" for each in said)
    return found


def _run_errors(request: Request, records: Sequence[RunRecord]) -> Iterable[str]:
    if len(records) != 1:
        if records or request.end is not End.LEFT:
            yield f"{len(records)} runs"
        return
    [run] = records
    if run.ended is None or run.outcome is Outcome.RUNNING:
        yield "the run was never closed"
    answered = request.end in {End.ANSWER, End.DEGRADED}
    if request.end is not End.LEFT and answered != (run.outcome is Outcome.OK):
        yield f"the run was booked as {run.outcome}, {run.error_kind}"
    if run.error_kind in {"moa_internal", "other"}:
        yield "a bug of ours"
    told, booked = request.usage or {}, run.usage()
    if answered and told.get("total_tokens") != booked.prompt + booked.completion:
        yield f"the client was told {told}, booked were {booked}"
    if answered and tuple(run.degraded) != request.degraded:
        yield f"declared were {request.degraded}, booked {run.degraded}"


def _call_errors(
    calls: Sequence[CallRecord], heard: Sequence[tuple[Asked, Planned]]
) -> Iterable[str]:
    open_ = [call for call in calls if call.ended is None or call.outcome is Outcome.RUNNING]
    if open_:
        yield f"{len(open_)} calls were never closed"
    begun = Counter(call.target.upstream_model for call in calls)
    surely = Counter(
        call.target.upstream_model
        for call in calls
        if call.outcome is not Outcome.CANCELLED and call.target.upstream != "dead"
    )
    arrived = Counter(planned.model for _, planned in heard)
    for model in begun | arrived:
        if not surely[model] <= arrived[model] <= begun[model]:
            booked = f"{begun[model]}, {begun[model] - surely[model]} of them cancelled or refused"
            yield f"{model} was asked {arrived[model]} times, booked {booked}"
    yield from _answer_errors(calls, heard)


def _answer_errors(
    calls: Sequence[CallRecord], heard: Sequence[tuple[Asked, Planned]]
) -> Iterable[str]:
    """A good call's tokens are the very ones its upstream reported, and no two calls' the same."""
    planned = {call.serial: call for _, call in heard}
    good = [call for call in calls if call.outcome is Outcome.OK]
    serials = [call.usage.prompt if call.usage else 0 for call in good]
    if len(set(serials)) != len(serials):
        yield f"one answer booked twice: {sorted(serials)}"
    for call, serial in zip(good, serials, strict=True):
        source = planned.get(serial)
        if call.usage is None or call.usage.estimated or source is None:
            yield f"a good call of {call.target.upstream_model} was billed {call.usage}"
        elif source.model != call.target.upstream_model:
            yield f"{source} was booked for {call.target.upstream_model}"
        elif not source.is_whole:
            yield f"{source} was booked as a good answer"
    for call in calls:
        if call.outcome is Outcome.FAILED and call.error_kind in {None, "moa_internal"}:
            yield f"a call of {call.target.upstream_model} failed by {call.error_kind}"


def _late(request: Request, heard: Sequence[tuple[Asked, Planned]]) -> Iterable[str]:
    for asked, planned in heard:
        if asked.ending is Ending.OPEN or asked.ended is None:
            yield f"{planned} is still under way"
        elif asked.ended > request.ended + LATE:
            yield f"{planned} went on for {asked.ended - request.ended:.2f} s after the request"


def _nothing(request: Request, heard: Sequence[tuple[Asked, Planned]]) -> Iterable[str]:
    """An answer without a word is one only where the last model asked had none."""
    empty = request.end in {End.ANSWER, End.DEGRADED} and request.source is None
    if empty and "no answer at all" not in {planned.fault for _, planned in heard}:
        yield "an empty answer"


def leaving_times(
    requests: Sequence[Request], exchanges: Sequence[tuple[Asked, Planned]]
) -> list[tuple[float, Planned]]:
    """Seconds from a client's leaving to the end of each upstream exchange then under way."""
    left = {request.name: request.ended for request in requests if request.end is End.LEFT}
    return [
        (asked.ended - left[planned.request], planned)
        for asked, planned in exchanges
        if planned.request in left
        and asked.ending is Ending.ABORTED
        and asked.ended is not None
        and asked.ended > left[planned.request]
    ]
