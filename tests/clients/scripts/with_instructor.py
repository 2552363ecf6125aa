"""Instructor around the official Python client."""

from __future__ import annotations

import asyncio

import instructor
from facts import ASK, error_of, feature, tell
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel


class City(BaseModel):
    name: str
    inhabitants: int


def by(mode: instructor.Mode) -> object:
    client = instructor.from_openai(OpenAI(max_retries=0), mode=mode)
    return client.chat.completions.create(
        model="object", messages=ASK, response_model=City
    ).model_dump()


@feature
def structured() -> object:
    return by(instructor.Mode.JSON_SCHEMA)


@feature
def structured_by_a_tool() -> object:
    return by(instructor.Mode.TOOLS)


@feature
def structured_by_a_strict_tool() -> object:
    return by(instructor.Mode.TOOLS_STRICT)


@feature
def structured_as_plain_json() -> object:
    return by(instructor.Mode.JSON)


@feature
def structured_streamed() -> object:
    client = instructor.from_openai(OpenAI(max_retries=0))
    parts = list(
        client.chat.completions.create_partial(model="object", messages=ASK, response_model=City)
    )
    return parts[-1].model_dump()


@feature
def asynchronous() -> object:
    async def ask() -> object:
        client = instructor.from_openai(AsyncOpenAI(max_retries=0))
        city = await client.chat.completions.create(
            model="object", messages=ASK, response_model=City
        )
        return city.model_dump()

    return asyncio.run(ask())


@feature
def asks_again_after_a_wrong_object() -> object:
    client = instructor.from_openai(OpenAI(max_retries=0))
    city = client.chat.completions.create(
        model="second-thoughts", messages=ASK, response_model=City, max_retries=2
    )
    return city.model_dump()


@feature
def errors() -> object:
    client = instructor.from_openai(OpenAI(max_retries=0))

    def ask(model: str) -> str:
        return error_of(
            lambda: client.chat.completions.create(
                model=model, messages=ASK, response_model=City, max_retries=0
            )
        )

    return {"404": ask("none"), "429": ask("limited")}


tell()
