"""How a reply is cut into writes; what the writes say is tested over the socket."""

from __future__ import annotations

import pytest

from app.upstream.fake_reply import Reply, read_model
from app.upstream.fake_wire import Shape, render

STREAMED = Shape("any", stream=True)


def test_events_without_a_pause_leave_in_one_write() -> None:
    [write] = render(Reply(tokens=3), STREAMED).rest
    assert write.events == 5


@pytest.mark.parametrize("reply", [Reply(tokens=3, joined=False), Reply(tokens=3, every=0.01)])
def test_events_leave_one_by_one_where_paced_or_wished(reply: Reply) -> None:
    writes = render(reply, STREAMED).rest
    assert [write.pause for write in writes] == [0, *[reply.every] * 4]
    assert b"".join(write.data for write in writes) == joined(Reply(tokens=3))


def test_a_split_stream_has_writes_of_that_size() -> None:
    writes = render(Reply(split=7), STREAMED).rest
    assert {len(write.data) for write in writes[:-1]} == {7}
    assert b"".join(write.data for write in writes) == joined(Reply())


def test_what_comes_after_a_break_is_kept_apart() -> None:
    rendered = render(Reply(tokens=3, then="gate", after=2), STREAMED)
    assert [write.events for write in (*rendered.opening, *rendered.rest)] == [2, 3]


@pytest.mark.parametrize(
    ("tokens", "text"), [(0, ""), (1, "a "), (2, "a b "), (3, "a b a "), (5, "a b a b a ")]
)
def test_a_text_is_repeated_or_cut_to_a_number_of_tokens(tokens: int, text: str) -> None:
    assert "".join(Reply(text="a b", tokens=tokens).words) == text


def test_a_query_string_goes_over_what_is_known_of_the_model() -> None:
    known = Reply(text="I am Qwen.", status=503)
    reply = read_model("qwen?status=200&every=20ms&done=false", known)
    assert reply == Reply(text="I am Qwen.", status=200, every=0.02, done=False)


def joined(reply: Reply) -> bytes:
    return b"".join(write.data for write in render(reply, STREAMED).rest)
