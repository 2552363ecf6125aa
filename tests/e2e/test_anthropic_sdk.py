"""What Anthropic's official SDK sees."""

import anthropic
import orjson
import pydantic
import pytest

from app.upstream.fake_server import Reply

ASK = {"model": "plain", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
OTHER = {"id": "c2", "type": "function", "function": {"name": "sub", "arguments": '{"b": [2]}'}}
TOOLS = [{"name": "add", "description": "Adds.", "input_schema": {"type": "object"}}]
KEY = "moa-secret-1"


def client_of(gateway, kind=anthropic.Anthropic, **options):
    return kind(**{"base_url": gateway.url, "api_key": "none", "max_retries": 0, **options})


def asked(gateway):
    """The body of the last upstream call."""
    return gateway.upstream.log.entries[-1].body


def test_a_whole_message(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="Hello there.", reasoning="hm")
    with client_of(gateway) as client:
        message = client.messages.create(**ASK)

    assert [block.to_dict() for block in message.content] == [
        {"type": "text", "text": "Hello there."}
    ]
    assert (message.type, message.role, message.model) == ("message", "assistant", "plain")
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert (message.usage.input_tokens, message.usage.output_tokens) == (10, 2)
    assert message.id.startswith("msg_")
    assert message._request_id


def test_a_streamed_message(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="one two three")
    with client_of(gateway) as client, client.messages.stream(**ASK) as stream:
        text = list(stream.text_stream)
        message = stream.get_final_message()

    assert text == ["one ", "two ", "three"]
    assert message.content[0].text == "one two three"
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (10, 3)


def test_the_raw_events_come_in_anthropics_order(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="one two", tool_calls=(CALL, OTHER))
    with client_of(gateway) as client:
        kinds = [event.type for event in client.messages.create(**ASK, stream=True)]

    block = ["content_block_start", "content_block_delta", "content_block_delta"]
    stop = ["content_block_stop"]
    blocks = [*block, *stop] * 3
    assert kinds == ["message_start", *blocks, "message_delta", "message_stop"]


async def test_the_asynchronous_client(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="one two three")
    async with client_of(gateway, anthropic.AsyncAnthropic) as client:
        whole = await client.messages.create(**ASK)
        async with client.messages.stream(**ASK) as stream:
            text = [piece async for piece in stream.text_stream]

    assert whole.content[0].text == "one two three"
    assert "".join(text) == "one two three"


@pytest.mark.parametrize("stream", [True, False])
def test_a_tool_round_trip(gateway, stream):
    gateway.upstream.replies["plain-up"] = Reply(text="Let me see.", tool_calls=(CALL, OTHER))
    ask = {**ASK, "tools": TOOLS, "tool_choice": {"type": "any"}}
    with client_of(gateway) as client:
        first = ask_for_message(client, ask, stream=stream)
        gateway.upstream.replies["plain-up"] = Reply(text="It is 2.")
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "2"}
            for block in first.content
            if block.type == "tool_use"
        ]
        turns = [
            *ASK["messages"],
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": results},
        ]
        offered = asked(gateway)
        last = ask_for_message(client, {**ask, "messages": turns}, stream=stream)

    assert first.stop_reason == "tool_use"
    assert [(block.id, block.name, block.input) for block in first.content[1:]] == [
        ("c1", "add", {"a": 1}),
        ("c2", "sub", {"b": [2]}),
    ]
    assert offered["tools"][0]["function"] == {
        "name": "add",
        "description": "Adds.",
        "parameters": {"type": "object"},
    }
    assert offered["tool_choice"] == "required"
    assert last.content[0].text == "It is 2."
    calls = [
        {**call, "function": {**call["function"], "arguments": arguments}}
        for call, arguments in ((CALL, '{"a":1}'), (OTHER, '{"b":[2]}'))
    ]
    assert asked(gateway)["messages"][1:] == [
        {"role": "assistant", "content": "Let me see.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
        {"role": "tool", "tool_call_id": "c2", "content": "2"},
    ]


def test_a_panel_is_not_asked_again_for_the_results_of_its_tools(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="", tool_calls=(CALL,))
    ask = {**ASK, "model": "panel", "tools": TOOLS}
    with client_of(gateway) as client:
        first = client.messages.create(**ask)
        before = len(gateway.upstream.log.entries)
        result = {"type": "tool_result", "tool_use_id": "c1", "content": "2"}
        turns = [
            *ASK["messages"],
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": [result]},
        ]
        client.messages.create(**{**ask, "messages": turns})

    assert (before, len(gateway.upstream.log.entries)) == (3, 4)


def test_the_sdks_tool_runner_carries_tools_out(gateway):
    replies = iter([Reply(text="", tool_calls=(CALL,)), Reply(text="It is 2.")])
    gateway.upstream.replies["plain-up"] = lambda _: next(replies)

    @anthropic.beta_tool
    def add(a: int) -> str:
        """Add one.

        Args:
            a: a number
        """
        return str(a + 1)

    with client_of(gateway) as client:
        last = client.beta.messages.tool_runner(**ASK, tools=[add]).until_done()

    assert last.content[0].text == "It is 2."
    assert asked(gateway)["messages"][-1] == {"role": "tool", "tool_call_id": "c1", "content": "2"}


def test_parsed_output(gateway):
    class Sum(pydantic.BaseModel):
        total: int

    gateway.upstream.replies["plain-up"] = Reply(text='{"total": 2}')
    with client_of(gateway) as client:
        message = client.messages.parse(**ASK, output_format=Sum)

    assert message.parsed_output == Sum(total=2)
    form = asked(gateway)["response_format"]
    assert form["type"] == "json_schema"
    assert "total" in form["json_schema"]["schema"]["properties"]


@pytest.mark.parametrize("stream", [True, False])
def test_thinking_is_shown_to_who_asked_for_it(gateway, stream):
    gateway.upstream.replies["plain-up"] = Reply(text="Two.", reasoning="One and one.")
    ask = {**ASK, "max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 2000}}
    with client_of(gateway) as client:
        message = ask_for_message(client, ask, stream=stream)

    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].thinking == "One and one."
    assert "thinking" not in asked(gateway)


def test_a_graph_is_a_model(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="The answer.")
    with client_of(gateway) as client:
        message = client.messages.create(
            **{**ASK, "model": "panel"}, extra_body={"moa": {"include": ["run"]}}
        )

    assert message.content[0].text == "The answer."
    assert len(message.model_extra["moa"]["calls"]) == 3
    assert message.usage.input_tokens == 30


def test_tokens_are_counted_without_a_call(gateway):
    with client_of(gateway) as client:
        short = client.messages.count_tokens(model="panel", messages=ASK["messages"])
        long = client.messages.count_tokens(
            model="panel", messages=ASK["messages"], system="Be brief.", tools=TOOLS
        )

    assert 0 < short.input_tokens < long.input_tokens
    assert gateway.upstream.log.entries == []


@pytest.mark.parametrize(
    ("changes", "error", "kind"),
    [
        ({"model": "none"}, anthropic.NotFoundError, "not_found_error"),
        ({"max_tokens": 0}, anthropic.BadRequestError, "invalid_request_error"),
        ({"messages": []}, anthropic.BadRequestError, "invalid_request_error"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_wrong_requests_are_the_sdks_own_errors(gateway, changes, error, kind, stream):
    with client_of(gateway) as client, pytest.raises(error) as caught:
        client.messages.create(**{**ASK, **changes}, stream=stream)

    assert caught.value.type == kind
    assert caught.value.api_message
    assert caught.value.request_id == caught.value.body["request_id"]


@pytest.mark.parametrize(
    ("reply", "error", "expected"),
    [
        (
            Reply(status=429, retry_after="2"),
            anthropic.RateLimitError,
            (429, "rate_limit_error"),
        ),
        (Reply(status=401), anthropic.InternalServerError, (502, "api_error")),
        (Reply(status=500), anthropic.InternalServerError, (502, "api_error")),
        (Reply(status=400), anthropic.BadRequestError, (400, "invalid_request_error")),
        (Reply(after=0, then="error"), anthropic.InternalServerError, (502, "api_error")),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_failures_before_the_first_token_are_statuses(own_gateway, reply, error, expected, stream):
    own_gateway.upstream.replies["plain-up"] = reply
    with client_of(own_gateway) as client, pytest.raises(error) as caught:
        list(client.messages.create(**ASK, stream=stream))

    assert (caught.value.status_code, caught.value.type) == expected
    assert "sk-planted" not in caught.value.response.text


def test_the_sdk_waits_as_long_as_the_upstream_asked_and_tries_again(own_gateway):
    replies = iter([Reply(status=429, retry_after="0"), Reply(text="at last")])
    own_gateway.upstream.replies["plain-up"] = lambda _: next(replies)
    with client_of(own_gateway, max_retries=1) as client:
        message = client.messages.create(**ASK)

    assert message.content[0].text == "at last"


def test_a_stream_that_breaks_is_an_error_of_the_sdk_and_no_short_answer(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="one two three", after=2, then="cut")
    with (
        client_of(gateway) as client,
        client.messages.stream(**ASK) as stream,
        pytest.raises(anthropic.APIStatusError) as caught,
    ):
        list(stream)

    assert caught.value.type == "api_error"
    assert caught.value.body["request_id"] == stream.response.headers["request-id"]


@pytest.mark.parametrize("options", [{"api_key": KEY}, {"auth_token": KEY, "api_key": None}])
def test_a_key_opens_in_either_header(gateway_with, options):
    with gateway_with(api_keys=(KEY,)) as gateway, client_of(gateway, **options) as client:
        assert client.messages.create(**ASK).content[0].text == "An answer."


def test_a_wrong_key_is_an_authentication_error(gateway_with):
    with (
        gateway_with(api_keys=(KEY,)) as gateway,
        client_of(gateway, api_key="other") as client,
        pytest.raises(anthropic.AuthenticationError) as caught,
    ):
        client.messages.create(**ASK)

    assert caught.value.type == "authentication_error"


def test_a_body_above_the_limit_is_too_large(gateway_with):
    with (
        gateway_with(max_body_bytes=1024) as gateway,
        client_of(gateway) as client,
        pytest.raises(anthropic.ContentTooLargeError) as caught,
    ):
        client.messages.create(**{**ASK, "system": "x" * 2000})

    assert orjson.loads(caught.value.response.content)["error"]["type"] == "request_too_large"


def test_signs_of_life_do_not_disturb_the_sdk(gateway_with):
    with gateway_with(commit_after=0.05, heartbeat=0.05) as gateway, client_of(gateway) as client:
        gateway.upstream.replies["plain-up"] = Reply(text="one two", first=0.4, every=0.2)
        with client.messages.stream(**ASK) as stream:
            assert stream.get_final_text() == "one two"


def test_streamed_and_whole_messages_are_the_same(gateway):
    reply = Reply(text="one two", reasoning="hm", refusal=" No.", tool_calls=(CALL, OTHER))
    gateway.upstream.replies["plain-up"] = reply
    ask = {**ASK, "thinking": {"type": "adaptive"}}
    with client_of(gateway) as client:
        whole, streamed = (ask_for_message(client, ask, stream=each) for each in (False, True))

    assert [block.type for block in whole.content] == ["thinking", "text", "tool_use", "tool_use"]
    del whole.usage.cost  # the SDK takes what it does not know from whole messages alone
    assert {**streamed.to_dict(), "id": whole.id} == whole.to_dict()


def ask_for_message(client, ask, *, stream):
    if not stream:
        return client.messages.create(**ask)
    with client.messages.stream(**ask) as events:
        return events.get_final_message()
