"""Input items as chat messages, and as a client may list them."""

from app.protocol.responses.items import full_items, listed, to_messages

CALL = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"}
OTHER = {**CALL, "call_id": "c2", "name": "sub"}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "4"}


def said(role, content):
    return {"type": "message", "role": role, "content": content}


def nested(call):
    function = {"name": call["name"], "arguments": call["arguments"]}
    return {"id": call["call_id"], "type": "function", "function": function}


def test_an_item_without_a_type_is_a_message_or_a_reference():
    assert full_items([{"role": "user", "content": "Hi"}, {"id": "msg_1"}]) == [
        {"type": "message", "role": "user", "content": "Hi"},
        {"type": "item_reference", "id": "msg_1"},
    ]


def test_parts_get_the_names_of_chat():
    parts = [
        {"type": "input_text", "text": "Look"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "AA", "file_id": None},
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
    ]
    (message,) = to_messages([said("user", parts)])
    assert message["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "AA"}},
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
    ]


def test_a_lone_text_is_a_string():
    (message,) = to_messages([said("developer", [{"type": "input_text", "text": "Be brief."}])])
    assert message == {"role": "developer", "content": "Be brief."}


def test_parallel_calls_are_one_message_with_what_was_said_before_them():
    first, *results = to_messages(
        [
            said("assistant", [{"type": "output_text", "text": "Let me see."}]),
            {"type": "reasoning", "summary": []},
            CALL,
            OTHER,
            RESULT,
            {**RESULT, "call_id": "c2"},
        ]
    )
    assert first == {
        "role": "assistant",
        "content": "Let me see.",
        "tool_calls": [nested(CALL), nested(OTHER)],
    }
    assert [result["tool_call_id"] for result in results] == ["c1", "c2"]


def test_text_between_calls_does_not_part_them_from_their_results():
    first, result = to_messages([CALL, said("assistant", "Hm."), OTHER, RESULT])
    assert first["content"] == "Hm."
    assert len(first["tool_calls"]) == 2
    assert result["role"] == "tool"


def test_calls_after_a_result_are_a_message_of_their_own():
    roles = [m["role"] for m in to_messages([CALL, RESULT, OTHER, {**RESULT, "call_id": "c2"}])]
    assert roles == ["assistant", "tool", "assistant", "tool"]


def test_answers_without_calls_stay_apart():
    assert len(to_messages([said("assistant", "A"), said("assistant", "B")])) == 2


def test_a_refusal_is_told_as_one():
    (message,) = to_messages([said("assistant", [{"type": "refusal", "refusal": "No."}])])
    assert message == {"role": "assistant", "content": None, "refusal": "No."}


def test_a_result_may_be_parts():
    parts = [{"type": "input_text", "text": "4"}]
    (message,) = to_messages([{**RESULT, "output": parts}])
    assert message == {"role": "tool", "tool_call_id": "c1", "content": "4"}


def test_listed_items_have_an_id_a_status_and_parts():
    user, assistant, call, thought = listed(
        [said("user", "Hi"), said("assistant", "Ho"), {**CALL, "id": "own"}, {"type": "reasoning"}],
        "run",
    )
    assert user["id"] == "msg_run_in0"
    assert user["content"] == [{"type": "input_text", "text": "Hi"}]
    assert assistant["content"] == [{"type": "output_text", "text": "Ho", "annotations": []}]
    assert (call["id"], call["status"]) == ("own", "completed")
    assert thought == {"type": "reasoning"}


def test_what_is_listed_is_the_same_conversation():
    items = [said("user", "Hi"), said("assistant", "Ho"), CALL, RESULT]
    assert to_messages(listed(items, "run")) == to_messages(items)
