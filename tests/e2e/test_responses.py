"""What the official SDK sees of `/v1/responses`."""

import httpx
import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from app.upstream.fake_server import Reply

ASK = {"model": "plain", "input": "Hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
TOOLS = [{"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": False}]


class Weather(BaseModel):
    city: str
    degrees: int


def asked(gateway):
    return gateway.upstream.log.entries[-1].body


def test_a_whole_response(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="Hello there.", reasoning="Hm.")
    with gateway.openai() as client:
        response = client.responses.create(**ASK, instructions="Be brief.", metadata={"a": "b"})

    assert response.output_text == "Hello there."
    assert (response.status, response.model, response.metadata) == (
        "completed",
        "plain",
        {"a": "b"},
    )
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.output[0].summary[0].text == "Hm."
    assert response.usage.total_tokens == 12
    assert asked(gateway)["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]


def test_typed_events(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="one two three")
    with gateway.openai() as client:
        events = list(client.responses.create(**ASK, stream=True))

    said = "".join(each.delta for each in events if each.type == "response.output_text.delta")
    assert said == "one two three"
    assert [each.sequence_number for each in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == "one two three"
    assert events[-1].response.id == events[0].response.id


async def test_the_asynchronous_client(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="one two three")
    async with gateway.async_openai() as client:
        whole = await client.responses.create(**ASK)
        async with client.responses.stream(**ASK, previous_response_id=whole.id) as events:
            streamed = await events.get_final_response()
        again = await client.responses.retrieve(streamed.id)
        await client.responses.delete(streamed.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(streamed.id)

    assert whole.output_text == streamed.output_text == again.output_text == "one two three"


def test_the_stream_helper_parses(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text='{"city": "Rome", "degrees": 30}')
    with gateway.openai() as client:
        with client.responses.stream(**ASK, text_format=Weather) as events:
            streamed = events.get_final_response()
        whole = client.responses.parse(**ASK, text_format=Weather)

    assert streamed.output_parsed == whole.output_parsed == Weather(city="Rome", degrees=30)
    wanted = asked(gateway)["response_format"]
    assert wanted["type"] == "json_schema"
    assert wanted["json_schema"]["strict"] is True
    assert wanted["json_schema"]["name"] == "Weather"


@pytest.mark.parametrize("stream", [True, False])
def test_a_function_round_trip(gateway, stream):
    gateway.upstream.replies["plain-up"] = Reply(text="", tool_calls=(CALL,))
    with gateway.openai() as client:
        if stream:
            with client.responses.stream(**ASK, tools=TOOLS) as events:
                first = events.get_final_response()
        else:
            first = client.responses.create(**ASK, tools=TOOLS)
        (call,) = first.output
        gateway.upstream.replies["plain-up"] = Reply(text="It is 4.")
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "4"}
        second = client.responses.create(
            model="plain", input=[result], previous_response_id=first.id, tools=TOOLS
        )
        by_hand = client.responses.create(
            model="plain",
            input=[{"role": "user", "content": "Hi"}, call.to_dict(), result],
            tools=TOOLS,
            store=False,
        )

    assert (call.name, call.arguments, call.call_id) == ("add", '{"a": 1}', "c1")
    assert second.output_text == by_hand.output_text == "It is 4."
    one, other = gateway.upstream.log.entries[-2:]
    assert one.body["messages"] == other.body["messages"]
    assert [message["role"] for message in one.body["messages"]] == ["user", "assistant", "tool"]


def test_streamed_and_whole_responses_are_the_same(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="one two", reasoning="hm", tool_calls=(CALL,))
    with gateway.openai() as client:
        whole = client.responses.create(**ASK).to_dict()
        *_, last = client.responses.create(**ASK, stream=True)

    streamed = last.response.to_dict()
    own = str(whole["id"]).removeprefix("resp_")
    other = str(streamed["id"]).removeprefix("resp_")
    assert str(whole).replace(own, other).replace(
        str(whole["created_at"]), str(streamed["created_at"])
    ) == str(streamed)


def test_what_is_stored_is_read_listed_and_deleted(gateway):
    with gateway.openai() as client:
        first = client.responses.create(**ASK)
        second = client.responses.create(model="plain", input="And?", previous_response_id=first.id)
        again = client.responses.retrieve(second.id)
        newest = client.responses.input_items.list(second.id, limit=2)
        oldest = list(client.responses.input_items.list(second.id, order="asc", limit=1))
        client.responses.delete(second.id)
        with pytest.raises(openai.NotFoundError) as caught:
            client.responses.retrieve(second.id)

    assert again.to_dict() == second.to_dict()
    assert newest.data[0].content[0].text == "And?"
    assert newest.has_more
    assert [item.role for item in oldest] == ["user", "assistant", "user"]
    assert caught.value.code == "response_not_found"


def test_what_is_not_stored_is_not_there(gateway):
    with gateway.openai() as client:
        response = client.responses.create(**ASK, store=False)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(response.id)
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(**ASK, previous_response_id=response.id)

    assert caught.value.code == "previous_response_not_found"


def test_a_key_does_not_see_the_responses_of_another(gateway_with):
    with gateway_with(api_keys="key-of-one,key-of-two") as gateway:
        with gateway.openai(api_key="key-of-one") as client:
            response = client.responses.create(**ASK)
            assert client.responses.retrieve(response.id).id == response.id
        with gateway.openai(api_key="key-of-two") as client:
            with pytest.raises(openai.NotFoundError):
                client.responses.retrieve(response.id)
            with pytest.raises(openai.NotFoundError):
                client.responses.input_items.list(response.id)
            with pytest.raises(openai.BadRequestError):
                client.responses.create(**ASK, previous_response_id=response.id)


def test_a_graph_answers(gateway):
    gateway.upstream.replies |= {"first-up": Reply(text="A first proposal.")}
    with gateway.openai() as client:
        response = client.responses.create(
            model="panel", input="Hi", extra_body={"moa": {"include": ["run"]}}
        )

    assert "A first proposal." in str(asked(gateway)["messages"])
    assert len(response.model_extra["moa"]["calls"]) == 3


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("changes", "error", "param"),
    [
        ({"model": "none"}, openai.NotFoundError, "model"),
        ({"temperature": 9}, openai.BadRequestError, "temperature"),
        ({"background": True}, openai.BadRequestError, "background"),
        ({"conversation": "conv_1"}, openai.BadRequestError, "conversation"),
        ({"tools": [{"type": "web_search"}]}, openai.BadRequestError, "tools[0].type"),
        ({"input": [{"role": "x", "content": ""}]}, openai.BadRequestError, "input[0].role"),
    ],
)
def test_wrong_requests_are_the_sdks_own_errors(gateway, changes, error, param, stream):
    with gateway.openai() as client, pytest.raises(error) as caught:
        client.responses.create(**{**ASK, **changes}, stream=stream)

    assert caught.value.param == param
    assert caught.value.request_id


@pytest.mark.parametrize("stream", [True, False])
def test_failures_before_the_first_token_are_statuses(own_gateway, stream):
    own_gateway.upstream.replies["plain-up"] = Reply(status=429, retry_after="2")
    with own_gateway.openai() as client, pytest.raises(openai.RateLimitError):
        list(client.responses.create(**ASK, stream=stream))


def test_a_stream_that_breaks_ends_with_a_failed_response(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="one two three", after=2, then="cut")
    with gateway.openai() as client:
        *_, last = client.responses.create(**ASK, stream=True)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(last.response.id)

    assert last.type == "response.failed"
    assert last.response.error.code == "server_error"


def test_an_answer_that_was_cut_is_incomplete(gateway):
    gateway.upstream.replies["plain-up"] = Reply(text="one two", finish="length")
    with gateway.openai() as client:
        whole = client.responses.create(**ASK, max_output_tokens=16)
        *_, last = client.responses.create(**ASK, stream=True)

    assert asked(gateway)["stream"] is True
    assert whole.incomplete_details.reason == "max_output_tokens"
    assert last.type == "response.incomplete"


def test_events_are_named_and_there_is_no_done(gateway):
    with httpx.Client(base_url=gateway.url) as client:
        raw = client.post("/v1/responses", json={**ASK, "stream": True}).text

    blocks = raw.strip().split("\n\n")
    assert all(each.startswith("event: response.") for each in blocks)
    assert blocks[-1].startswith("event: response.completed\n")


def test_a_response_is_of_the_sdks_type(gateway):
    with httpx.Client(base_url=gateway.url) as client:
        made = client.post("/v1/responses", json=ASK)
        read = client.get(f"/v1/responses/{made.json()['id']}")
        streamed = client.get(f"/v1/responses/{made.json()['id']}?stream=true")
        gone = client.delete(f"/v1/responses/{made.json()['id']}")
        wrong = client.get(f"/v1/responses/{made.json()['id']}/input_items?limit=0")

    Response.model_validate(made.json(), strict=False)
    assert read.json() == made.json()
    assert streamed.json()["error"]["param"] == "stream"
    assert gone.json() == {"id": made.json()["id"], "object": "response", "deleted": True}
    assert wrong.json()["error"]["param"] == "limit"
    assert made.headers["x-moa-run-id"] in made.json()["id"]
