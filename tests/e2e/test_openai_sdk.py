"""What the official SDK sees."""

import openai
import pytest

from app.upstream.fake_server import Reply

ASK = {"model": "plain", "messages": [{"role": "user", "content": "Hi"}]}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


def test_a_whole_answer(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="Hello there.")
    with gateway.openai() as client:
        answer = client.chat.completions.create(**ASK)

    assert answer.choices[0].message.content == "Hello there."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "plain"
    assert answer.usage.total_tokens == 12


def test_a_streamed_answer(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="one two three")
    with gateway.openai() as client:
        stream = client.chat.completions.create(
            **ASK, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)

    *said, last = chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in said) == "one two three"
    assert {(chunk.id, chunk.created, chunk.model) for chunk in chunks} == {
        (last.id, last.created, "plain")
    }
    assert said[0].choices[0].delta.role == "assistant"
    assert last.choices == []
    assert last.usage.completion_tokens == 3
    assert [chunk.usage for chunk in said] == [None] * len(said)


async def test_the_asynchronous_client(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="one two three")
    async with gateway.async_openai() as client:
        whole = await client.chat.completions.create(**ASK)
        stream = await client.chat.completions.create(**ASK, stream=True)
        text = [chunk.choices[0].delta.content or "" async for chunk in stream]

    assert whole.choices[0].message.content == "one two three"
    assert "".join(text) == "one two three"


@pytest.mark.parametrize("stream", [True, False])
def test_tool_calls_pass(gateway, stream):
    gateway.upstream.replies["plain-up"] = Reply(text="", tool_calls=(CALL,))
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    with gateway.openai() as client:
        if stream:
            with client.chat.completions.stream(**ASK, tools=tools) as events:
                answer = events.get_final_completion()
        else:
            answer = client.chat.completions.create(**ASK, tools=tools)

    (call,) = answer.choices[0].message.tool_calls
    assert (call.id, call.function.name, call.function.arguments) == ("c1", "add", '{"a": 1}')
    assert answer.choices[0].finish_reason == "tool_calls"


def test_a_graph_is_a_model(gateway):
    gateway.upstream.replies |= {
        "first-up": Reply(text="A first proposal."),
        "second-up": Reply(text="A second proposal."),
        "plain-up": Reply(text="The answer."),
    }
    with gateway.openai() as client:
        answer = client.chat.completions.create(
            **{**ASK, "model": "panel"}, extra_body={"moa": {"include": ["run"]}}
        )

    last = gateway.upstream.log.entries[-1]
    assert answer.choices[0].message.content == "The answer."
    assert "A first proposal." in str(last.body["messages"])
    assert len(answer.model_extra["moa"]["calls"]) == 3


def test_several_choices(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="same")
    with gateway.openai() as client:
        answer = client.chat.completions.create(**ASK, n=2)

    assert [choice.message.content for choice in answer.choices] == ["same", "same"]


def test_models_are_listed(gateway):
    with gateway.openai() as client:
        assert [model.id for model in client.models.list()] == ["panel", "plain", "first", "second"]
        assert client.models.retrieve("panel").id == "panel"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"model": "none"}, openai.NotFoundError),
        ({"temperature": 9}, openai.BadRequestError),
        ({"messages": []}, openai.BadRequestError),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_wrong_requests_are_the_sdks_own_errors(gateway, changes, error, stream):
    with gateway.openai() as client, pytest.raises(error) as caught:
        client.chat.completions.create(**{**ASK, **changes}, stream=stream)

    assert caught.value.request_id


@pytest.mark.parametrize(
    ("reply", "error", "status"),
    [
        (Reply(status=429, retry_after="2"), openai.RateLimitError, 429),
        (Reply(status=401), openai.InternalServerError, 502),
        (Reply(status=500), openai.InternalServerError, 502),
        (Reply(body="<html>"), openai.InternalServerError, 502),
        (Reply(after=0, then="error"), openai.InternalServerError, 502),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_failures_before_the_first_token_are_statuses(own_gateway, reply, error, status, stream):
    own_gateway.upstream.replies["plain-up"] = reply
    with own_gateway.openai() as client, pytest.raises(error) as caught:
        list(client.chat.completions.create(**ASK, stream=stream))

    assert caught.value.status_code == status
    assert "sk-planted" not in caught.value.response.text


def test_the_sdk_waits_as_long_as_the_upstream_asked_and_tries_again(own_gateway):
    replies = iter([Reply(status=429, retry_after="0"), Reply(text="at last")])
    own_gateway.upstream.replies["plain-up"] = lambda _: next(replies)
    with own_gateway.openai(max_retries=1) as client:
        answer = client.chat.completions.create(**ASK)

    assert answer.choices[0].message.content == "at last"


def test_a_stream_that_breaks_is_an_error_of_the_sdk_and_no_short_answer(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="one two three", after=2, then="cut")
    with gateway.openai() as client:
        stream = client.chat.completions.create(**ASK, stream=True)
        with pytest.raises(openai.APIError):
            list(stream)


def test_streamed_and_whole_answers_are_the_same(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="one two", reasoning="hm", tool_calls=(CALL,))
    with gateway.openai() as client:
        whole = client.chat.completions.create(**ASK)
        with client.chat.completions.stream(
            **ASK, stream_options={"include_usage": True}
        ) as events:
            streamed = events.get_final_completion()

    one, other = whole.choices[0].message, streamed.choices[0].message
    assert one.content == other.content
    assert one.tool_calls[0].function.arguments == other.tool_calls[0].function.arguments
    assert whole.usage.total_tokens == streamed.usage.total_tokens
