from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.errors import UpstreamRejected
from app.protocol.chat import Conversation
from app.upstream.user_turns import ends_in_two, may_be_refused, merged


def user(content: object) -> dict[str, Any]:
    return {"role": "user", "content": content}


SYSTEM = {"role": "system", "content": "s"}
REPLY = {"role": "assistant", "content": "r"}


def merge(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return list(merged(Conversation(messages)).messages)


def test_two_turns_at_the_end_are_seen() -> None:
    assert ends_in_two(Conversation((SYSTEM, user("a"), user("b"))))
    assert not ends_in_two(Conversation((user("a"), user("b"), REPLY, user("c"))))
    assert not ends_in_two(Conversation((user("a"),)))
    assert not ends_in_two(Conversation(()))


def test_texts_are_joined_by_a_blank_line() -> None:
    assert merge(SYSTEM, user("a"), user("b"), user("c")) == [SYSTEM, user("a\n\nb\n\nc")]


def test_parts_are_put_in_a_row() -> None:
    image = {"type": "image_url", "image_url": {"url": "x"}}
    text = {"type": "text", "text": "b"}
    assert merge(user([image]), user("b")) == [user([image, text])]
    assert merge(user("b"), user([image])) == [user([text, image])]
    assert merge(user([text]), user([image])) == [user([text, image])]
    assert merge(user(None), user([image])) == [user([image])]


def test_pairs_in_the_history_are_merged_too() -> None:
    assert merge(user("a"), user("b"), REPLY, user("c")) == [user("a\n\nb"), REPLY, user("c")]


ROLES = st.sampled_from(["user", "assistant", "system", "tool"])


@given(st.lists(st.builds(lambda role, text: {"role": role, "content": text}, ROLES, st.text())))
def test_merging_loses_no_word_leaves_no_pair_and_changes_nothing_in_place(
    messages: list[dict[str, Any]],
) -> None:
    copies = [dict(message) for message in messages]
    result = merge(*messages)
    assert messages == copies
    roles = [message["role"] for message in result]
    assert ("user", "user") not in pairwise(roles)
    for message in messages:
        assert any(message["content"] in each["content"] for each in result)


def test_only_a_refusal_that_names_nothing_else_may_be_about_turns() -> None:
    assert may_be_refused(UpstreamRejected("m", status=400))
    assert may_be_refused(UpstreamRejected("m", status=400, param="messages[1]"))
    assert not may_be_refused(UpstreamRejected("m", status=400, param="tools"))
    assert not may_be_refused(UpstreamRejected("m", status=400, code="content_filter"))
    assert not may_be_refused(UpstreamRejected("m", status=413))
