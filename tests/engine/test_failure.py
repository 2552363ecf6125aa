"""What a client is told when a graph came to nothing."""

from __future__ import annotations

import pytest

from app.engine.failure import graph_failed
from app.errors import (
    DeadlineExceeded,
    GraphFailed,
    InternalError,
    InvalidRequest,
    MoaError,
    NodeFailure,
    NodeSkipped,
    Overloaded,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamEmpty,
    UpstreamMalformed,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)

LIMITED = UpstreamRateLimited("Busy.", retry_after=7.0)
LIMITED_LESS = UpstreamRateLimited("Busy.", retry_after=3.5)
LIMITED_SILENTLY = UpstreamRateLimited("Busy.")
TIMEOUT = UpstreamTimeout("Slow.")
LATE = DeadlineExceeded("Late.")
DENIED = UpstreamDenied("Denied.")
DOWN = UpstreamUnavailable("Down.")
SKIPPED = NodeSkipped("Nothing to do.")


def rejected(status: int, code: str = "bad", param: str | None = None) -> UpstreamRejected:
    return UpstreamRejected("Wrong.", status=status, code=code, param=param)


def failed(*errors: MoaError, billed: bool = False) -> GraphFailed:
    failures = [NodeFailure(f"node{number}", error) for number, error in enumerate(errors, 1)]
    return graph_failed("It failed", failures, billed=billed)


@pytest.mark.parametrize(
    ("errors", "status"),
    [
        ([LIMITED], 429),
        ([LIMITED, LIMITED_SILENTLY], 429),
        ([LIMITED, SKIPPED], 429),
        ([LIMITED, DOWN], 502),
        ([LIMITED, TIMEOUT], 502),
        ([LIMITED, rejected(400)], 502),
        ([TIMEOUT], 504),
        ([TIMEOUT, LATE], 504),
        ([TIMEOUT, DOWN], 502),
        ([rejected(400)], 400),
        ([rejected(413), rejected(413)], 413),
        ([rejected(422), rejected(422), SKIPPED], 422),
        ([rejected(413), rejected(400)], 413),
        ([rejected(400), DOWN], 502),
        ([rejected(400), TIMEOUT], 502),
        ([rejected(404)], 502),
        ([InvalidRequest("Too long.")], 400),
        ([DENIED], 502),
        ([DENIED, DENIED], 502),
        ([DENIED, LIMITED], 502),
        ([DOWN], 502),
        ([UpstreamMalformed("Garbage.")], 502),
        ([UpstreamEmpty("Empty.")], 502),
        ([InternalError("Oops.")], 502),
        ([SKIPPED], 502),
        ([Overloaded("Full.")], 503),
        ([UpstreamRateLimited("Slow down."), UpstreamBusy("Full.")], 503),
        ([], 502),
    ],
)
def test_the_status_follows_from_the_causes(errors: list[MoaError], status: int) -> None:
    assert failed(*errors).status == status


@pytest.mark.parametrize(
    ("errors", "retry_after"),
    [
        ([LIMITED, LIMITED_LESS, LIMITED_SILENTLY], 3.5),
        ([LIMITED_SILENTLY], None),
        ([LIMITED, DOWN], None),
        ([Overloaded("Full.", retry_after=2.0)], 2.0),
    ],
)
def test_the_smallest_retry_after_is_told_where_waiting_helps(
    errors: list[MoaError], retry_after: float | None
) -> None:
    assert failed(*errors).retry_after == retry_after


@pytest.mark.parametrize(
    ("errors", "should_retry"),
    [
        ([LIMITED], None),
        ([Overloaded("Full.")], None),
        ([DOWN], False),
        ([TIMEOUT], False),
        ([rejected(400)], False),
        ([LIMITED, DOWN], False),
        ([], False),
    ],
)
def test_after_a_billed_call_no_second_try_is_asked_for_unless_waiting_helps(
    errors: list[MoaError], should_retry: object
) -> None:
    assert failed(*errors, billed=True).should_retry is should_retry
    assert failed(*errors).should_retry is None


@pytest.mark.parametrize(
    ("errors", "code", "param"),
    [
        (
            [rejected(400, "context_length_exceeded", "messages")] * 2,
            "context_length_exceeded",
            "messages",
        ),
        ([SKIPPED, rejected(422, "bad", "n")], "bad", "n"),
        ([LIMITED], "rate_limit_exceeded", None),
        ([TIMEOUT], "upstream_timeout", None),
        ([DOWN, rejected(400, "bad", "n")], "graph_failed", None),
    ],
)
def test_code_and_param_of_a_wrong_request_reach_the_client_and_no_others(
    errors: list[MoaError], code: str, param: str | None
) -> None:
    error = failed(*errors)
    assert (error.code, error.param) == (code, param)


def test_every_node_gets_its_reason_and_no_detail_of_the_upstream() -> None:
    error = failed(UpstreamUnavailable("Down.", detail="secret at 10.0.0.1"), LIMITED)
    assert error.message == "It failed: node1: Down; node2: Busy."
    assert [failure.node for failure in error.failures] == ["node1", "node2"]


def test_a_long_list_of_reasons_is_cut() -> None:
    error = failed(*[DOWN] * 40)
    assert error.message.endswith("node12: Down; and 28 more.")
    assert len(error.failures) == 40


def test_without_any_reason_the_sentence_still_ends() -> None:
    assert failed().message == "It failed."


def test_a_graph_within_a_graph_hands_its_status_on() -> None:
    inner = failed(LIMITED, LIMITED_LESS)
    outer = failed(inner, LIMITED)
    assert (outer.status, outer.retry_after) == (429, 3.5)
