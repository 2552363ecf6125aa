"""Pydantic AI agents."""

from __future__ import annotations

import asyncio

from facts import KEY, QUESTION, V1, error_of, feature, tell
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider


class City(BaseModel):
    name: str
    inhabitants: int


def chat(model: str, key: str = KEY) -> OpenAIChatModel:
    return OpenAIChatModel(model, provider=OpenAIProvider(base_url=V1, api_key=key))


def adder(model: object) -> tuple[Agent, list[object]]:
    """An agent with the tool, and the numbers the tool was called with."""
    agent = Agent(model)
    called: list[object] = []

    @agent.tool_plain
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        called.append({"a": a, "b": b})
        return a + b

    return agent, called


@feature
def whole() -> object:
    result = Agent(chat("panel")).run_sync(QUESTION)
    return {"text": result.output, "tokens": result.usage.total_tokens}


@feature
def streamed() -> object:
    async def ask() -> object:
        async with Agent(chat("panel")).run_stream(QUESTION) as result:
            pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
            return {"pieces": pieces, "tokens": result.usage.total_tokens}

    return asyncio.run(ask())


@feature
def tools() -> object:
    agent, called = adder(chat("tools"))
    return {"answer": agent.run_sync(QUESTION).output, "numbers": called}


@feature
def tools_streamed() -> object:
    async def ask() -> object:
        agent, called = adder(chat("tools"))
        async with agent.run_stream(QUESTION) as result:
            return {"answer": await result.get_output(), "numbers": called}

    return asyncio.run(ask())


@feature
def structured() -> object:
    agent = Agent(chat("object"), output_type=NativeOutput(City))
    return agent.run_sync(QUESTION).output.model_dump()


@feature
def structured_by_a_tool() -> object:
    return Agent(chat("object"), output_type=City).run_sync(QUESTION).output.model_dump()


@feature
def errors() -> object:
    return {
        "401": error_of(lambda: Agent(chat("panel", "wrong")).run_sync(QUESTION)),
        "404": error_of(lambda: Agent(chat("none")).run_sync(QUESTION)),
        "429": error_of(lambda: Agent(chat("limited")).run_sync(QUESTION)),
    }


@feature
def retries() -> object:
    return {"text": Agent(chat("flaky")).run_sync(QUESTION).output}


@feature
def responses() -> object:
    model = OpenAIResponsesModel("panel", provider=OpenAIProvider(base_url=V1, api_key=KEY))
    result = Agent(model).run_sync(QUESTION)
    return {"text": result.output, "tokens": result.usage.total_tokens}


@feature
def responses_tools() -> object:
    model = OpenAIResponsesModel("tools", provider=OpenAIProvider(base_url=V1, api_key=KEY))
    agent, called = adder(model)
    return {"answer": agent.run_sync(QUESTION).output, "numbers": called}


tell()
