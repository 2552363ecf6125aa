"""What an inner node sees of the conversation: media, role prompts, windows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.views import fitted, media_in, with_system, without_media
from app.protocol.chat import Conversation
from app.protocol.json_types import JsonObject

TEXT: JsonObject = {"type": "text", "text": "Look:"}
IMAGE: JsonObject = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
VIDEO: JsonObject = {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}}
AUDIO: JsonObject = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
FILE: JsonObject = {"type": "file", "file": {"filename": "a.pdf", "file_data": "AA=="}}


def user(*parts: object) -> JsonObject:
    return {"role": "user", "content": parts[0] if isinstance(parts[0], str) else list(parts)}


@pytest.mark.parametrize(
    ("part", "kind"), [(IMAGE, "image"), (VIDEO, "video"), (AUDIO, "audio"), (FILE, "file")]
)
def test_each_kind_of_media_is_found_and_noted_in_its_place(part: JsonObject, kind: str) -> None:
    messages = [user("Hi"), user(TEXT, part, TEXT)]
    assert media_in(messages) == {kind}
    first, second = without_media(messages, {kind})
    assert first is messages[0]
    before, note, after = second["content"]
    assert (before, after) == (TEXT, TEXT)
    assert note["type"] == "text"
    assert note["text"].endswith("was here; you cannot take it in]")


def test_media_of_other_kinds_stay() -> None:
    [message] = without_media([user(IMAGE, AUDIO)], {"audio"})
    assert message["content"][0] == IMAGE
    assert message["content"][1]["type"] == "text"


def test_text_is_no_media() -> None:
    assert media_in([user("Hi"), user(TEXT), {"role": "assistant", "content": None}]) == set()


def test_the_callers_messages_are_never_changed() -> None:
    messages = [user(TEXT, IMAGE)]
    without_media(messages, {"image"})
    with_system([{"role": "system", "content": [TEXT]}], "More.")
    assert messages == [user(TEXT, IMAGE)]


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize(
    ("content", "joined"),
    [
        ("Be brief.", "Be brief.\n\nBe kind."),
        ("", "Be kind."),
        (None, "Be kind."),
        ([TEXT], [TEXT, {"type": "text", "text": "Be kind."}]),
    ],
)
def test_a_role_prompt_comes_after_the_callers_own(
    role: str, content: object, joined: object
) -> None:
    found = with_system([{"role": role, "content": content, "name": "x"}, user("Hi")], "Be kind.")
    assert found == [{"role": role, "content": joined, "name": "x"}, user("Hi")]


def test_a_role_prompt_is_the_first_message_where_the_caller_gave_none() -> None:
    assert with_system([user("Hi")], "P") == [{"role": "system", "content": "P"}, user("Hi")]


def message(role: str, size: int) -> JsonObject:
    return {"role": role, "content": "x" * size}


messages = st.lists(
    st.builds(
        message,
        st.sampled_from(["system", "developer", "user", "assistant"]),
        st.integers(0, 200),
    ),
    min_size=1,
    max_size=12,
)


@given(messages, st.integers(-10, 600))
def test_a_fitted_conversation_keeps_system_and_last_message_and_begins_with_a_user(
    before: list[JsonObject], room: int
) -> None:
    conversation = Conversation(tuple(before))
    fit = fitted(conversation, room)
    if fit is None:
        assert conversation.tokens > room
        return
    kept, gone = fit
    assert kept.tokens <= room
    assert len(kept.messages) == len(before) - gone
    if not gone:
        assert kept is conversation
        return
    systems = [m for m in before if m["role"] in {"system", "developer"}]
    turns = [m for m in before if m["role"] not in {"system", "developer"}]
    assert list(kept.messages) == [*systems, *turns[gone:]]
    assert turns[gone]["role"] == "user"
    if before[-1]["role"] not in {"system", "developer"}:
        assert kept.messages[-1] is before[-1]


@given(messages, st.integers(0, 600))
def test_no_more_turns_go_than_must(before: list[JsonObject], room: int) -> None:
    fit = fitted(Conversation(tuple(before)), room)
    if fit is None or not fit[1]:
        return
    systems = [m for m in before if m["role"] in {"system", "developer"}]
    turns = [m for m in before if m["role"] not in {"system", "developer"}]
    for start in range(1, fit[1]):
        if turns[start]["role"] == "user":
            assert Conversation((*systems, *turns[start:])).tokens > room


def test_what_cannot_fit_is_none() -> None:
    assert fitted(Conversation((message("user", 300),)), 50) is None
    assert fitted(Conversation((message("system", 300), message("user", 3))), 50) is None


def test_ten_thousand_turns_are_each_counted_a_few_times_at_most() -> None:
    counted = 0

    class Counted(dict[str, object]):
        def get(self, key: str, default: object = None) -> object:  # type: ignore[override]
            nonlocal counted
            counted += key == "content"
            return super().get(key, default)

    turns = tuple(Counted(role="user", content="word") for _ in range(10_000))
    fit = fitted(Conversation(turns), 60)
    assert fit is not None
    assert fit[1] == 10_000 - 10
    assert counted <= 20_000
