from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from app.protocol.chat import ChatRequest, Conversation
from app.upstream.request_body import BodyWriter
from app.upstream.spec import UpstreamSpec

MESSAGES = ({"role": "user", "content": "grüße"},)


def write(params: dict[str, object], *, stream: bool = False, **settings: Any) -> Any:
    spec = UpstreamSpec.model_validate({"base_url": "http://x", **settings})
    request = ChatRequest(Conversation(MESSAGES), params, stream)
    return orjson.loads(BodyWriter("vendor/m", spec).write(request))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["temperature", "stop", "x", "tools"]), JSON))
def test_every_field_of_a_request_is_sent_as_it_is(params: dict[str, object]) -> None:
    sent = write(params)
    assert sent == {"model": "vendor/m", "messages": list(MESSAGES), "stream": False, **params}


def test_a_shared_conversation_is_serialised_once() -> None:
    class Counted(Conversation):
        times = 0

        @property
        def encoded(self) -> bytes:  # type: ignore[override]
            Counted.times += 1
            return b'[{"role":"user","content":"as it was"}]'

    spec = UpstreamSpec.model_validate({"base_url": "http://x"})
    body = BodyWriter("m", spec).write(ChatRequest(Counted(MESSAGES)))
    assert b'"messages":[{"role":"user","content":"as it was"}]' in body
    assert Counted.times == 1


def test_dropped_fields_are_not_sent() -> None:
    sent = write({"temperature": 1, "seed": 2}, drop=["temperature"])
    assert "temperature" not in sent
    assert sent["seed"] == 2


def test_renamed_fields_have_the_upstreams_name() -> None:
    sent = write({"max_tokens": 5}, rename={"max_tokens": "max_completion_tokens"})
    assert sent["max_completion_tokens"] == 5
    assert "max_tokens" not in sent


def test_a_renamed_field_does_not_replace_the_one_the_caller_wrote() -> None:
    params = {"max_tokens": 5, "max_completion_tokens": 6}
    sent = write(params, rename={"max_tokens": "max_completion_tokens"})
    assert sent["max_completion_tokens"] == 6
    assert "max_tokens" not in sent


def test_the_operators_fields_win_over_the_callers() -> None:
    sent = write({"top_k": 1, "provider": {"a": 1}}, extra_body={"provider": {"b": 2}})
    assert sent["provider"] == {"b": 2}
    assert sent["top_k"] == 1


def test_streams_ask_for_usage_unless_the_upstream_knows_no_such_thing() -> None:
    assert write({}, stream=True)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in write({}, stream=True, drop=["stream_options"])
    assert "stream_options" not in write({})
