"""The record of a run."""

from __future__ import annotations

import pytest

from app.protocol.usage import Usage
from app.record import Degradation, Note, Outcome, RunRecord, Step, Target

TARGET = Target("pool", "upstream", "their/model")


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def run(clock: Hand) -> RunRecord:
    return RunRecord("run-1", "moa", clock)


def test_a_run_begins_when_it_is_made_and_is_running(run: RunRecord) -> None:
    assert (run.started, run.ended, run.outcome) == (100.0, None, Outcome.RUNNING)


def test_the_first_ending_of_a_run_counts(run: RunRecord, clock: Hand) -> None:
    clock.now = 103.0
    run.close(Outcome.FAILED, "moa_deadline")
    clock.now = 109.0
    run.close(Outcome.OK)
    assert (run.ended, run.outcome, run.error_kind) == (103.0, Outcome.FAILED, "moa_deadline")


def test_a_step_opens_a_line_with_its_place_and_time(run: RunRecord, clock: Hand) -> None:
    clock.now = 101.5
    call = Step(run, "g/n/h", 2, "node", 3, is_output=False).begin(TARGET)
    assert run.calls == [call]
    assert (call.graph, call.layer, call.node, call.sample) == ("g/n/h", 2, "node", 3)
    assert (call.started, call.outcome, call.is_output) == (101.5, Outcome.RUNNING, False)
    assert call.target is TARGET


def test_a_call_is_booked_once_whatever_happens_later(run: RunRecord, clock: Hand) -> None:
    step = Step(run)
    call = step.begin(TARGET)
    clock.now = 102.0
    step.end(call, Outcome.CANCELLED, usage=Usage(3, 1))
    clock.now = 105.0
    step.end(call, Outcome.OK, usage=Usage(9, 9), error_kind="upstream_other")
    assert (call.ended, call.outcome, call.usage) == (102.0, Outcome.CANCELLED, Usage(3, 1))
    assert call.error_kind is None


def test_usage_adds_up_what_was_billed_however_the_calls_ended(run: RunRecord) -> None:
    inner, output = Step(run, is_output=False), Step(run)
    inner.end(inner.begin(TARGET), Outcome.OK, usage=Usage(10, 5))
    inner.end(inner.begin(TARGET), Outcome.CANCELLED, usage=Usage(10, 1, estimated=True))
    inner.end(inner.begin(TARGET), Outcome.FAILED)
    output.end(output.begin(TARGET), Outcome.OK, usage=Usage(30, 7))
    inner.begin(TARGET)
    assert run.usage() == Usage(50, 13, estimated=True)
    assert run.output_usage() == Usage(30, 7)
    assert [call.usage for call in run.billed()] == [
        Usage(10, 5),
        Usage(10, 1, estimated=True),
        Usage(30, 7),
    ]


def test_a_billed_call_of_no_tokens_is_billed(run: RunRecord) -> None:
    step = Step(run)
    step.end(step.begin(TARGET), Outcome.OK, usage=Usage())
    assert len(list(run.billed())) == 1


def test_a_run_without_calls_used_nothing(run: RunRecord) -> None:
    assert run.usage() == run.output_usage() == Usage()


def test_each_reason_for_less_is_told_once_and_in_order(run: RunRecord) -> None:
    run.degrade(Degradation.QUORUM_MISSED)
    run.degrade(Degradation.FALLBACK)
    run.degrade(Degradation.QUORUM_MISSED)
    assert run.degraded == ["quorum_missed", "fallback"]


def test_a_note_keeps_its_detail_as_text(run: RunRecord) -> None:
    run.note("turns_trimmed", "node", 4)
    run.note("late", "node")
    assert run.notes == [Note("turns_trimmed", "node", "4"), Note("late", "node", "")]


def test_runs_share_nothing(clock: Hand) -> None:
    one, two = RunRecord("1", "m", clock), RunRecord("2", "m", clock)
    one.note("late", "n")
    one.degrade(Degradation.FALLBACK)
    Step(one).begin(TARGET)
    assert (two.notes, two.degraded, two.calls) == ([], [], [])
