"""LiteLLM as a client, with the provider `openai` and the gateway's address."""

from __future__ import annotations

import asyncio
import json

import litellm
from facts import ADD, ASK, KEY, V1, error_of, feature, tell
from pydantic import BaseModel

TOOLS = [{"type": "function", "function": ADD}]


class City(BaseModel):
    name: str
    inhabitants: int


def options(model: str, **others: object) -> dict[str, object]:
    options = {"api_base": V1, "api_key": KEY, "messages": ASK, "num_retries": 0}
    return {"model": f"openai/{model}", **options, **others}


def ask(model: str, **others: object) -> litellm.ModelResponse:
    return litellm.completion(**options(model, **others))


@feature
def whole() -> object:
    answer = ask("panel")
    return {"text": answer.choices[0].message.content, "tokens": answer.usage.total_tokens}


@feature
def streamed() -> object:
    chunks = list(ask("panel", stream=True, stream_options={"include_usage": True}))
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    tokens = [chunk.usage.total_tokens for chunk in chunks if getattr(chunk, "usage", None)]
    return {"pieces": [piece for piece in pieces if piece], "tokens": tokens[-1]}


@feature
def asynchronous() -> object:
    async def asked() -> object:
        answer = await litellm.acompletion(**options("panel"))
        stream = await litellm.acompletion(**options("panel", stream=True))
        pieces = [chunk.choices[0].delta.content async for chunk in stream]
        text = answer.choices[0].message.content
        return {"text": text, "pieces": [piece for piece in pieces if piece]}

    return asyncio.run(asked())


@feature
def tools() -> object:
    return _round_trip(ask("tools", tools=TOOLS))


@feature
def tools_streamed() -> object:
    chunks = list(ask("tools", tools=TOOLS, stream=True))
    return _round_trip(litellm.stream_chunk_builder(chunks, messages=ASK))


def _round_trip(answer: litellm.ModelResponse) -> object:
    message = answer.choices[0].message
    (call,) = message.tool_calls
    numbers = json.loads(call.function.arguments)
    result = {"role": "tool", "tool_call_id": call.id, "content": str(sum(numbers.values()))}
    following = ask("tools", messages=[*ASK, message, result], tools=TOOLS)
    return {
        "called": call.function.name,
        "numbers": numbers,
        "answer": following.choices[0].message.content,
    }


@feature
def structured() -> object:
    answer = ask("object", response_format=City)
    return City.model_validate_json(answer.choices[0].message.content).model_dump()


@feature
def errors() -> object:
    return {
        "401": error_of(lambda: ask("panel", api_key="wrong")),
        "404": error_of(lambda: ask("none")),
        "429": error_of(lambda: ask("limited")),
    }


@feature
def retries() -> object:
    return {"text": ask("flaky", num_retries=1).choices[0].message.content}


@feature
def embeddings() -> object:
    answer = litellm.embedding(
        model="openai/embedder", input=["one", "two"], api_base=V1, api_key=KEY
    )
    return {"vectors": len(answer.data), "size": len(answer.data[0]["embedding"])}


@feature
def responses() -> object:
    answer = litellm.responses(model="openai/panel", input="One", api_base=V1, api_key=KEY)
    return {"text": answer.output[-1].content[0].text, "tokens": answer.usage.total_tokens}


tell()
