"""The legacy text completions, as the official SDK uses them."""

import openai
import pytest

from app.upstream.fake_server import Reply

ASK = {"model": "plain", "prompt": "Once upon"}


def last_word(call):
    return Reply(text=f"about {call['messages'][-1]['content']}", prompt_tokens=3)


def test_a_prompt_is_completed(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text=" a time.")
    with gateway.openai() as client:
        answer = client.completions.create(**ASK, max_tokens=5, temperature=0)

    assert (answer.object, answer.model) == ("text_completion", "plain")
    assert answer.id.startswith("cmpl-")
    assert answer.choices[0].text == " a time."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == 12
    (asked,) = gateway.upstream.log.entries
    assert asked.path == "/v1/chat/completions"
    assert asked.body["messages"] == [{"role": "user", "content": "Once upon"}]
    assert (asked.body["max_tokens"], asked.body["temperature"]) == (5, 0)


def test_a_prompt_is_completed_in_a_stream(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="one two three")
    with gateway.openai() as client:
        stream = client.completions.create(
            **ASK, stream=True, echo=True, stream_options={"include_usage": True}
        )
        *said, last = list(stream)

    assert "".join(each.choices[0].text for each in said) == "Once uponone two three"
    assert {each.id for each in said} == {last.id}
    assert [each.choices[0].finish_reason for each in said] == [None] * (len(said) - 1) + ["stop"]
    assert (last.choices, last.usage.completion_tokens) == ([], 3)


@pytest.mark.parametrize("stream", [True, False])
def test_each_prompt_has_its_answers(gateway, stream):
    gateway.upstream.replies["plain-up"] = last_word
    with gateway.openai() as client:
        asked = client.completions.create(
            model="plain", prompt=["ants", "bees"], n=2, echo=True, stream=stream
        )
        texts = [""] * 4
        for answer in asked if stream else [asked]:
            for choice in answer.choices:
                texts[choice.index] += choice.text

    assert texts == ["antsabout ants"] * 2 + ["beesabout bees"] * 2
    assert len(gateway.upstream.log.entries) == 2


def test_usage_is_that_of_all_prompts(gateway):
    gateway.upstream.replies["plain-up"] = last_word
    with gateway.openai() as client:
        answer = client.completions.create(
            model="plain", prompt=["a", "b", "c"], extra_body={"moa": {"include": ["run"]}}
        )

    assert answer.usage.prompt_tokens == 9
    assert len(answer.model_extra["moa"]["calls"]) == 3


def test_a_graph_completes_too(gateway):
    gateway.upstream.replies |= {"first-up": Reply(text="Idea."), "plain-up": Reply(text="Text.")}
    with gateway.openai() as client:
        answer = client.completions.create(model="panel", prompt="Once")

    assert answer.choices[0].text == "Text."
    assert "Idea." in str(gateway.upstream.log.entries[-1].body["messages"])


@pytest.mark.parametrize(
    "wrong", [{"suffix": "end"}, {"best_of": 3}, {"prompt": [[1, 2]]}, {"model": "none"}]
)
def test_what_cannot_be_done_is_refused(gateway, wrong):
    with gateway.openai() as client, pytest.raises(openai.APIStatusError) as caught:
        client.completions.create(**{**ASK, **wrong})

    assert caught.value.status_code == (404 if "model" in wrong else 400)
    assert caught.value.param.startswith(next(iter(wrong)))
    assert gateway.upstream.log.entries == []


@pytest.mark.parametrize("stream", [True, False])
def test_failures_are_statuses(gateway, stream):
    gateway.upstream.replies["plain-up"] = Reply(status=500)
    with gateway.openai() as client, pytest.raises(openai.InternalServerError):
        client.completions.create(model="plain", prompt=["a", "b"], stream=stream)


def test_a_stream_that_breaks_is_an_error(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="one two three", after=2, then="cut")
    with gateway.openai() as client:
        stream = client.completions.create(**ASK, stream=True)
        with pytest.raises(openai.APIError):
            list(stream)
