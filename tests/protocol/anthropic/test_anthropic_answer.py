import pytest

from app.errors import (
    CapReached,
    Forbidden,
    GraphFailed,
    InternalError,
    InvalidRequest,
    LoopDetected,
    ModelNotFound,
    NodeFailure,
    Overloaded,
    PayloadTooLarge,
    Unauthenticated,
    UpstreamDenied,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from app.protocol.answer import Answer
from app.protocol.anthropic.answer import UNREADABLE, Frame, message_object
from app.protocol.anthropic.errors import error_object
from app.protocol.chat import Chunk
from app.protocol.usage import Usage

USAGE = {**Usage(prompt=3, completion=2).to_wire(), "cost": 0.5}


def message(finish="stop", moa=None, **delta):
    answer = Answer()
    stop = delta.pop("stop_reason", None)
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "stop_reason": stop}
    answer.add([Chunk((choice,))])
    return message_object(Frame("msg_1", "m", stops=("END",)), answer, USAGE, moa)


def called(arguments):
    function = {"name": "f", "arguments": arguments}
    (block,) = message(tool_calls=[{"id": "a", "function": function}])["content"]
    return block["input"]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("content_filter", "refusal"),
        ("anything", "end_turn"),
        (None, "end_turn"),
    ],
)
def test_why_a_message_ended(finish, reason):
    found = message(finish, content="a")

    assert (found["stop_reason"], found["stop_sequence"]) == (reason, None)
    assert (found["stop_details"] is not None) == (reason == "refusal")


def test_a_call_is_a_reason_even_if_the_upstream_says_stop():
    assert message(tool_calls=[{"function": {"name": "f"}}])["stop_reason"] == "tool_use"


def test_a_refusal_is_told_as_text():
    found = message(refusal="No.")

    assert (found["stop_reason"], found["content"]) == (
        "refusal",
        [{"type": "text", "text": "No."}],
    )


@pytest.mark.parametrize(("named", "sequence"), [("END", "END"), ("other", None), (7, None)])
def test_a_stop_sequence_is_named_where_the_upstream_names_it(named, sequence):
    found = message(content="a", stop_reason=named)

    assert found["stop_sequence"] == sequence
    assert found["stop_reason"] == ("stop_sequence" if sequence else "end_turn")


def test_only_asked_for_reasoning_is_shown():
    assert [block["type"] for block in message(content="a", reasoning="hm")["content"]] == ["text"]


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ('{"a": 1}', {"a": 1}),
        ("", {}),
        (" \n", {}),
        ('{"a": ', {UNREADABLE: '{"a": '}),
        ("[1]", {UNREADABLE: "[1]"}),
        ({"a": 1}, {"a": 1}),
    ],
)
def test_arguments_are_an_object_and_never_lost(arguments, given):
    assert called(arguments) == given


def test_cost_and_extension_are_told():
    found = message(content="a", moa={"run_id": "r"})

    assert (found["usage"]["cost"], found["moa"]) == (0.5, {"run_id": "r"})


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("x"), "invalid_request_error"),
        (Unauthenticated("x"), "authentication_error"),
        (Forbidden("x"), "permission_error"),
        (ModelNotFound("x"), "not_found_error"),
        (PayloadTooLarge("x"), "request_too_large"),
        (UpstreamRateLimited("x"), "rate_limit_error"),
        (CapReached("x"), "rate_limit_error"),
        (InternalError("x"), "api_error"),
        (UpstreamDenied("x", detail="secret"), "api_error"),
        (LoopDetected("x"), "api_error"),
        (Overloaded("x"), "overloaded_error"),
        (UpstreamTimeout("x"), "timeout_error"),
    ],
)
def test_every_error_has_anthropics_type_and_our_code(error, kind):
    body = error_object(error, "req-1")

    assert (body["type"], body["request_id"]) == ("error", "req-1")
    assert (body["error"]["type"], body["error"]["message"]) == (kind, "x")
    assert body["error"].get("details", {}).get("error_code") == error.code
    assert "secret" not in str(body)


def test_a_failed_graph_says_why():
    failure = GraphFailed("x", failures=(NodeFailure("a", UpstreamDenied("denied")),))

    assert error_object(failure, "r")["error"]["details"]["nodes"] == [
        {"node": "a", "message": "denied", "code": "upstream_denied"}
    ]


def test_a_field_at_fault_is_named():
    body = error_object(InvalidRequest("x", param="tools[0].type"), "r")

    assert body["error"]["details"] == {"param": "tools[0].type"}
