"""A text completion's body becomes a chat; what a chat cannot do is refused by name."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.errors import InvalidRequest
from app.protocol.text_request import MAX_PROMPTS, parse_text

ASK = {"model": "m", "prompt": "Once"}


def read(**fields: Any) -> Any:
    return parse_text(orjson.dumps({**ASK, **fields}))


def test_a_prompt_is_a_users_message() -> None:
    asked = read()
    assert asked.call.model == "m"
    assert asked.call.request.conversation.messages == ({"role": "user", "content": "Once"},)
    assert asked.call.request.params == {}
    assert not asked.call.request.stream


def test_prompts_are_conversations_of_their_own() -> None:
    asked = read(prompt=["a", "b"], n=3)
    assert [each.messages[0]["content"] for each in asked.conversations] == ["a", "b"]
    assert [asked.prompt_of(index) for index in range(6)] == ["a", "a", "a", "b", "b", "b"]


@pytest.mark.parametrize("index", [1, 7, -9])
def test_a_choice_too_many_completes_the_prompt_there_is(index: int) -> None:
    assert read().prompt_of(index) == "Once"


def test_fields_that_a_chat_knows_go_on_as_they_came() -> None:
    fields = {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 5,
        "stop": ["x"],
        "seed": 3,
        "n": 2,
        "user": "ann",
        "frequency_penalty": 1,
        "presence_penalty": -1,
        "logit_bias": {"50256": -100},
        "top_k": 40,
    }
    assert read(**fields).call.request.params == fields


def test_log_probabilities_are_asked_for_in_the_words_of_a_chat() -> None:
    assert read(logprobs=3).call.request.params == {"logprobs": True, "top_logprobs": 3}
    assert read(logprobs=None).call.request.params == {}


@pytest.mark.parametrize(
    "harmless", [{"suffix": ""}, {"suffix": None}, {"best_of": 1}, {"best_of": 2, "n": 2}]
)
def test_what_changes_nothing_is_accepted_and_sent_nowhere(harmless: dict[str, Any]) -> None:
    assert set(read(**harmless).call.request.params) <= {"n"}


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, 2]}, "prompt[0]"),
        ({"prompt": [[1], [2]]}, "prompt[0]"),
        ({"prompt": ["x"] * (MAX_PROMPTS + 1)}, "prompt"),
        ({"prompt": ["x"] * 3, "n": 100}, "n"),
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"echo": True, "logprobs": 0}, "logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"moa": {"nothing": 1}}, "moa.nothing"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(**wrong)
    assert caught.value.param == param


def test_a_model_from_elsewhere_stands_for_the_one_in_the_body() -> None:
    assert parse_text(b'{"prompt": "a"}', "azure").call.model == "azure"
    assert parse_text(b'{"prompt": "a", "model": "b"}', "azure").call.model == "azure"
    with pytest.raises(InvalidRequest) as caught:
        parse_text(b'{"prompt": "a"}')
    assert caught.value.param == "model"
