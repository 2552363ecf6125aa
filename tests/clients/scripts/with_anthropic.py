"""Anthropic's Python client on `/v1/messages`."""

from __future__ import annotations

import asyncio

from anthropic import Anthropic, AsyncAnthropic
from facts import ASK, BASE, KEY, NUMBERS, error_of, feature, tell

OPTIONS = {"base_url": BASE, "api_key": KEY}
ADD = {"name": "add", "description": "Add two numbers.", "input_schema": NUMBERS}
client = Anthropic(**OPTIONS, max_retries=0)


def body(model: str, **others: object) -> dict[str, object]:
    return {"model": model, "messages": ASK, "max_tokens": 100, **others}


@feature
def whole() -> object:
    answer = client.messages.create(**body("panel"))
    return {
        "text": answer.content[0].text,
        "stop": answer.stop_reason,
        "tokens": answer.usage.input_tokens + answer.usage.output_tokens,
    }


@feature
def streamed() -> object:
    with client.messages.stream(**body("panel")) as stream:
        pieces = list(stream.text_stream)
        answer = stream.get_final_message()
    return {"pieces": pieces, "stop": answer.stop_reason, "output": answer.usage.output_tokens}


@feature
def asynchronous() -> object:
    async def ask() -> object:
        async with AsyncAnthropic(**OPTIONS, max_retries=0) as client:
            answer = await client.messages.create(**body("panel"))
            async with client.messages.stream(**body("panel")) as stream:
                pieces = [piece async for piece in stream.text_stream]
        return {"text": answer.content[0].text, "pieces": pieces}

    return asyncio.run(ask())


@feature
def system_and_blocks() -> object:
    blocks = [{"role": "user", "content": [{"type": "text", "text": "One"}]}]
    answer = client.messages.create(**body("panel", messages=blocks, system="Be brief."))
    return {"text": answer.content[0].text}


@feature
def tools() -> object:
    return _round_trip(client.messages.create(**body("tools", tools=[ADD])))


@feature
def tools_streamed() -> object:
    with client.messages.stream(**body("tools", tools=[ADD])) as stream:
        return _round_trip(stream.get_final_message())


def _round_trip(answer: object) -> object:
    (call,) = [block for block in answer.content if block.type == "tool_use"]
    result = {
        "type": "tool_result",
        "tool_use_id": call.id,
        "content": str(sum(call.input.values())),
    }
    messages = [
        *ASK,
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": [result]},
    ]
    following = client.messages.create(**body("tools", messages=messages, tools=[ADD]))
    return {
        "called": call.name,
        "numbers": call.input,
        "stop": answer.stop_reason,
        "answer": following.content[0].text,
    }


@feature
def errors() -> object:
    def ask(client: Anthropic, model: str) -> str:
        return error_of(lambda: client.messages.create(**body(model)))

    return {
        "401": ask(client.with_options(api_key="wrong"), "panel"),
        "404": ask(client, "none"),
        "429": ask(client, "limited"),
    }


@feature
def retries() -> object:
    answer = client.with_options(max_retries=1).messages.create(**body("flaky"))
    return {"text": answer.content[0].text}


@feature
def broken_stream() -> object:
    def read() -> None:
        with client.messages.stream(**body("broken")) as stream:
            stream.until_done()

    return {"error": error_of(read)}


tell()
