"""The official Python client."""

from __future__ import annotations

import asyncio
import json

import openai
from facts import ADD, ASK, error_of, feature, tell
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

TOOLS = [{"type": "function", "function": ADD}]
client = OpenAI(max_retries=0)


class City(BaseModel):
    name: str
    inhabitants: int


@feature
def whole() -> object:
    answer = client.chat.completions.create(model="panel", messages=ASK)
    return {"text": answer.choices[0].message.content, "tokens": answer.usage.total_tokens}


@feature
def streamed() -> object:
    chunks = list(
        client.chat.completions.create(
            model="panel", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
    )
    *said, last = chunks
    pieces = [chunk.choices[0].delta.content for chunk in said if chunk.choices[0].delta.content]
    return {"pieces": pieces, "tokens": last.usage.total_tokens}


@feature
def asynchronous() -> object:
    async def ask() -> object:
        async with AsyncOpenAI(max_retries=0) as client:
            answer = await client.chat.completions.create(model="panel", messages=ASK)
            stream = await client.chat.completions.create(model="panel", messages=ASK, stream=True)
            pieces = [chunk.choices[0].delta.content async for chunk in stream if chunk.choices]
        text = answer.choices[0].message.content
        return {"text": text, "pieces": [piece for piece in pieces if piece]}

    return asyncio.run(ask())


@feature
def stream_helper() -> object:
    kinds = []
    with client.chat.completions.stream(model="panel", messages=ASK) as events:
        kinds = [event.type for event in events]
        answer = events.get_final_completion()
    return {"kinds": sorted(set(kinds)), "text": answer.choices[0].message.content}


@feature
def tools() -> object:
    answer = client.chat.completions.create(model="tools", messages=ASK, tools=TOOLS)
    return _round_trip(answer.choices[0].message)


@feature
def tools_streamed() -> object:
    with client.chat.completions.stream(model="tools", messages=ASK, tools=TOOLS) as events:
        answer = events.get_final_completion()
    return _round_trip(answer.choices[0].message)


def _round_trip(message: openai.types.chat.ChatCompletionMessage) -> object:
    (call,) = message.tool_calls
    numbers = json.loads(call.function.arguments)
    result = {"role": "tool", "tool_call_id": call.id, "content": str(sum(numbers.values()))}
    answer = client.chat.completions.create(
        model="tools", messages=[*ASK, message, result], tools=TOOLS
    )
    return {
        "called": call.function.name,
        "numbers": numbers,
        "answer": answer.choices[0].message.content,
    }


@feature
def structured() -> object:
    answer = client.chat.completions.parse(model="object", messages=ASK, response_format=City)
    return answer.choices[0].message.parsed.model_dump()


@feature
def structured_streamed() -> object:
    with client.chat.completions.stream(
        model="object", messages=ASK, response_format=City
    ) as events:
        answer = events.get_final_completion()
    return answer.choices[0].message.parsed.model_dump()


@feature
def raw_response() -> object:
    raw = client.chat.completions.with_raw_response.create(model="panel", messages=ASK)
    with client.chat.completions.with_streaming_response.create(
        model="panel", messages=ASK
    ) as streaming:
        text = streaming.parse().choices[0].message.content
    return {
        "status": raw.status_code,
        "request id": raw.request_id == raw.headers["x-request-id"],
        "run id": bool(raw.headers["x-moa-run-id"]),
        "text": raw.parse().choices[0].message.content,
        "streaming": text,
    }


@feature
def errors() -> object:
    def ask(client: OpenAI, **changes: object) -> str:
        body = {"model": "panel", "messages": ASK, **changes}
        return error_of(lambda: client.chat.completions.create(**body))

    return {
        "400": ask(client, temperature=9),
        "401": ask(client.with_options(api_key="wrong")),
        "404": ask(client, model="none"),
        "429": ask(client, model="limited"),
        "502": ask(client, model="down"),
    }


@feature
def retries() -> object:
    answer = client.with_options(max_retries=1).chat.completions.create(model="flaky", messages=ASK)
    return {"text": answer.choices[0].message.content}


@feature
def no_retry_where_none_helps() -> object:
    patient = client.with_options(max_retries=3)
    return {
        "error": error_of(lambda: patient.chat.completions.create(model="capped", messages=ASK))
    }


@feature
def timeout() -> object:
    hurried = client.with_options(timeout=0.5)
    return {
        "error": error_of(lambda: hurried.chat.completions.create(model="silent", messages=ASK))
    }


@feature
def broken_stream() -> object:
    stream = client.chat.completions.create(model="broken", messages=ASK, stream=True)
    return {"error": error_of(lambda: list(stream))}


@feature
def models() -> object:
    return {
        "listed": "panel" in [model.id for model in client.models.list()],
        "retrieved": client.models.retrieve("panel").id,
    }


@feature
def embeddings() -> object:
    answer = client.embeddings.create(model="embedder", input=["one", "two"])
    return {"vectors": len(answer.data), "size": len(answer.data[0].embedding)}


@feature
def completions() -> object:
    answer = client.completions.create(model="panel", prompt="One")
    stream = client.completions.create(model="panel", prompt="One", stream=True)
    text = "".join(chunk.choices[0].text for chunk in stream if chunk.choices)
    return {"text": answer.choices[0].text, "streamed": text}


@feature
def responses() -> object:
    answer = client.responses.create(model="panel", input="One")
    following = client.responses.create(model="panel", input="Two", previous_response_id=answer.id)
    return {
        "text": answer.output_text,
        "tokens": answer.usage.total_tokens,
        "following": following.output_text,
    }


@feature
def responses_streamed() -> object:
    with client.responses.stream(model="panel", input="One") as events:
        kinds = [event.type for event in events]
        answer = events.get_final_response()
    return {"text": answer.output_text, "first": kinds[0], "last": kinds[-1]}


@feature
def responses_structured() -> object:
    answer = client.responses.parse(model="object", input="One", text_format=City)
    return answer.output_parsed.model_dump()


@feature
def responses_tools() -> object:
    tools = [{"type": "function", "strict": True, **ADD}]
    answer = client.responses.create(model="tools", input=ASK, tools=tools)
    (call,) = [item for item in answer.output if item.type == "function_call"]
    numbers = json.loads(call.arguments)
    result = {
        "type": "function_call_output",
        "call_id": call.call_id,
        "output": str(sum(numbers.values())),
    }
    following = client.responses.create(
        model="tools", input=[*ASK, *answer.output, result], tools=tools
    )
    return {"called": call.name, "numbers": numbers, "answer": following.output_text}


tell()
