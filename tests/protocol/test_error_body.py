import orjson
import pytest

from app.errors import (
    CallerError,
    GraphFailed,
    InvalidRequest,
    MoaError,
    NodeFailure,
    Overloaded,
    Unauthenticated,
    UpstreamTimeout,
)
from app.protocol.error_body import error_bytes, error_headers, error_object
from app.protocol.models import model_list, model_object


def test_an_error_has_openais_four_fields():
    error = InvalidRequest("n: too many", param="n")

    assert error_object(error) == {
        "error": {
            "message": "n: too many",
            "type": "invalid_request_error",
            "param": "n",
            "code": None,
        }
    }


def test_what_only_we_may_know_is_not_in_the_body():
    raw = error_bytes(UpstreamTimeout("too slow", detail="http://10.0.0.1 said sk-123"))

    assert b"sk-123" not in raw
    assert orjson.loads(raw)["error"]["message"] == "too slow"


def test_a_failed_graph_says_why_node_by_node():
    failure = NodeFailure("best", UpstreamTimeout("too slow", detail="secret"))

    body = error_object(GraphFailed("nothing", failures=(failure,)))

    assert body["error"]["nodes"] == [
        {"node": "best", "message": "too slow", "code": "upstream_timeout"}
    ]


@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (InvalidRequest("x"), {}),
        (Overloaded("x", retry_after=1.2), {"retry-after": "2", "retry-after-ms": "1200"}),
        (Overloaded("x", retry_after=-1), {"retry-after": "0", "retry-after-ms": "0"}),
        (MoaError("x", should_retry=False), {"x-should-retry": "false"}),
        (MoaError("x", should_retry=True), {"x-should-retry": "true"}),
        (Unauthenticated("x"), {"www-authenticate": "Bearer"}),
    ],
)
def test_headers_tell_whether_and_when_to_try_again(error: MoaError, headers: dict[str, str]):
    assert error_headers(error) == headers


def test_every_class_of_caller_errors_makes_a_body():
    for kind in CallerError.__subclasses__():
        assert error_object(kind("x"))["error"]["type"]


def test_model_objects_have_openais_shape():
    listed = model_list([model_object("a/b", 7)])

    assert listed == {
        "object": "list",
        "data": [{"id": "a/b", "object": "model", "created": 7, "owned_by": "moa-gateway"}],
    }
