"""The chat request and its pieces."""

from __future__ import annotations

import orjson
import pytest

from app.protocol.chat import ChatRequest, Chunk, Conversation, text_chunk
from app.protocol.tokens import estimate_messages

ASKED = ({"role": "user", "content": "Hi", "x_own": [1, None]},)
MORE = {"role": "user", "content": "More"}


def test_a_conversation_is_serialised_as_it_came() -> None:
    assert orjson.loads(Conversation(ASKED).encoded) == list(ASKED)


def test_a_conversation_is_serialised_and_counted_once() -> None:
    conversation = Conversation(ASKED)
    assert conversation.encoded is conversation.encoded
    assert conversation.tokens == estimate_messages(ASKED)
    assert "tokens" in vars(conversation)


def test_a_tail_makes_another_conversation_with_counts_of_its_own() -> None:
    conversation = Conversation(ASKED)
    before = conversation.encoded
    longer = conversation.with_tail(MORE)
    assert longer.messages == (*ASKED, MORE)
    assert longer.tokens > conversation.tokens
    assert conversation.messages == ASKED
    assert conversation.encoded is before


def test_an_empty_tail_is_the_same_conversation() -> None:
    conversation = Conversation(ASKED)
    assert conversation.with_tail() is conversation


def test_other_parameters_leave_the_rest_of_a_request() -> None:
    request = ChatRequest(Conversation(ASKED), {"n": 1}, stream=True, progress=True)
    other = request.with_params({"n": 2})
    assert other == ChatRequest(request.conversation, {"n": 2}, stream=True, progress=True)
    assert other.conversation is request.conversation
    assert request.params == {"n": 1}


def test_the_parameters_every_request_starts_with_cannot_be_written_to() -> None:
    with pytest.raises(TypeError):
        ChatRequest(Conversation(ASKED)).params["n"] = 1  # type: ignore[index]


def test_text_becomes_a_chunk_of_the_wires_shape() -> None:
    delta = {"content": "Hi"}
    assert text_chunk("Hi") == Chunk(({"index": 0, "delta": delta, "finish_reason": None},))


def test_a_chunk_may_end_a_choice_and_name_its_field() -> None:
    [choice] = text_chunk("", index=2, finish_reason="stop").choices
    assert choice == {"index": 2, "delta": {}, "finish_reason": "stop"}
    [choice] = text_chunk("Hm", field="reasoning_content").choices
    assert choice["delta"] == {"reasoning_content": "Hm"}
