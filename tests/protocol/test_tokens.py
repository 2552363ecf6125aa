"""The one estimate of token counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.protocol.json_types import JsonObject
from app.protocol.tokens import (
    TOKENS_PER_IMAGE,
    TOKENS_PER_MESSAGE,
    estimate_inputs,
    estimate_messages,
    estimate_text,
)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("a", 1), ("abc", 1), ("abcd", 2), ("漢", 1), ("🎉", 2), ("é" * 3, 2)],
)
def test_a_token_is_three_bytes_rounded_up(text: str, tokens: int) -> None:
    assert estimate_text(text) == tokens


@given(st.text(), st.text())
def test_parts_count_at_least_as_much_as_the_whole(one: str, two: str) -> None:
    whole = estimate_text(one + two)
    assert whole <= estimate_text(one) + estimate_text(two) <= whole + 1


def test_half_a_surrogate_pair_is_counted_and_does_not_raise() -> None:
    assert estimate_text("\ud83c") == 1


def test_every_message_costs_a_little_more_than_its_text() -> None:
    messages: list[JsonObject] = [
        {"role": "user", "content": "abc"},
        {"role": "user", "content": ""},
    ]
    assert estimate_messages(messages) == 2 * TOKENS_PER_MESSAGE + 1


@pytest.mark.parametrize("content", [None, [], ""])
def test_a_message_that_says_nothing_costs_what_a_message_costs(content: object) -> None:
    assert estimate_messages([{"role": "assistant", "content": content}]) == TOKENS_PER_MESSAGE


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file", "video_url"])
def test_media_cost_a_constant_however_large_they_are(kind: str) -> None:
    part = {"type": kind, kind: {"url": "data:" + "A" * 90_000}}
    message = {"role": "user", "content": [{"type": "text", "text": "abc"}, part]}
    assert estimate_messages([message]) == TOKENS_PER_MESSAGE + 1 + TOKENS_PER_IMAGE


def test_an_empty_text_beside_a_picture_hides_nothing() -> None:
    part = {"type": "image_url", "image_url": {"url": "data:"}, "text": "", "refusal": ""}
    assert estimate_messages([{"role": "user", "content": [part]}]) >= TOKENS_PER_IMAGE


@pytest.mark.parametrize(
    "message",
    [
        {"content": [{"type": "thinking", "thinking": "abc" * 5_000}]},
        {"content": "a", "reasoning_content": "abc" * 5_000},
        {"content": "a", "refusal": "abc" * 5_000},
        {"content": "a", "name": "abc" * 5_000},
        {"content": "a", "reasoning_details": [{"text": "abc" * 5_000}]},
    ],
)
def test_whatever_else_a_message_says_is_counted(message: JsonObject) -> None:
    assert estimate_messages([{"role": "assistant", **message}]) >= 5_000


@pytest.mark.parametrize(
    ("given", "tokens"), [("abcd", 2), (["abc", "abcd"], 3), ([7, 8, 9], 3), ([[1], [2, 3]], 3)]
)
def test_what_is_to_be_embedded_costs_its_tokens(given: object, tokens: int) -> None:
    assert estimate_inputs(given) == tokens


def test_a_refusal_part_costs_its_text() -> None:
    message = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    assert estimate_messages([message]) == TOKENS_PER_MESSAGE + 1


def test_an_empty_text_part_is_no_picture() -> None:
    message = {"role": "user", "content": [{"type": "text", "text": ""}]}
    assert estimate_messages([message]) == TOKENS_PER_MESSAGE


def test_tool_calls_cost_their_arguments() -> None:
    call = {"id": "1", "function": {"name": "f", "arguments": "x" * 300}}
    assert estimate_messages([{"role": "assistant", "content": None, "tool_calls": [call]}]) > 100


def test_a_legacy_function_call_costs_its_arguments() -> None:
    call = {"name": "f", "arguments": "x" * 300}
    assert estimate_messages([{"role": "assistant", "content": None, "function_call": call}]) > 100


@pytest.mark.parametrize("content", [7, [None, 3], [{"type": "text", "text": None}]])
def test_odd_contents_do_not_raise(content: object) -> None:
    assert estimate_messages([{"role": "user", "content": content}]) >= TOKENS_PER_MESSAGE
