"""LangChain's `ChatOpenAI` and `OpenAIEmbeddings`."""

from __future__ import annotations

import asyncio

from facts import KEY, QUESTION, V1, error_of, feature, tell
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel


class City(BaseModel):
    name: str
    inhabitants: int


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def chat(model: str, **options: object) -> ChatOpenAI:
    return ChatOpenAI(model=model, **{"base_url": V1, "api_key": KEY, "max_retries": 0, **options})


@feature
def whole() -> object:
    answer = chat("panel").invoke(QUESTION)
    return {"text": answer.content, "tokens": answer.usage_metadata["total_tokens"]}


@feature
def streamed() -> object:
    chunks = list(chat("panel", stream_usage=True).stream(QUESTION))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    pieces = [chunk.content for chunk in chunks if chunk.content]
    return {"pieces": pieces, "tokens": whole.usage_metadata["total_tokens"]}


@feature
def asynchronous() -> object:
    async def ask() -> object:
        model = chat("panel")
        pieces = [chunk.content async for chunk in model.astream(QUESTION)]
        return {
            "text": (await model.ainvoke(QUESTION)).content,
            "pieces": [piece for piece in pieces if piece],
        }

    return asyncio.run(ask())


@feature
def tools() -> object:
    model = chat("tools").bind_tools([add])
    return _round_trip(model, model.invoke(QUESTION))


@feature
def tools_streamed() -> object:
    model = chat("tools").bind_tools([add])
    chunks = list(model.stream(QUESTION))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return _round_trip(model, whole)


def _round_trip(model: object, message: object) -> object:
    (call,) = message.tool_calls
    result = ToolMessage(str(add.invoke(call["args"])), tool_call_id=call["id"])
    answer = model.invoke([HumanMessage(QUESTION), message, result])
    return {"called": call["name"], "numbers": call["args"], "answer": answer.content}


@feature
def structured() -> object:
    model = chat("object").with_structured_output(City)
    return model.invoke(QUESTION).model_dump()


@feature
def structured_by_a_tool() -> object:
    model = chat("object").with_structured_output(City, method="function_calling")
    return model.invoke(QUESTION).model_dump()


@feature
def errors() -> object:
    return {
        "401": error_of(lambda: chat("panel", api_key="wrong").invoke(QUESTION)),
        "404": error_of(lambda: chat("none").invoke(QUESTION)),
        "429": error_of(lambda: chat("limited").invoke(QUESTION)),
    }


@feature
def retries() -> object:
    return {"text": chat("flaky", max_retries=1).invoke(QUESTION).content}


@feature
def embeddings() -> object:
    # Its default counts tokens with a vocabulary that is fetched; servers other than OpenAI's
    # are asked without.
    model = OpenAIEmbeddings(
        model="embedder", base_url=V1, api_key=KEY, check_embedding_ctx_length=False
    )
    vectors = model.embed_documents(["one", "two"])
    return {"vectors": len(vectors), "size": len(vectors[0])}


@feature
def responses() -> object:
    answer = chat("panel", use_responses_api=True).invoke(QUESTION)
    return {"text": answer.text, "tokens": answer.usage_metadata["total_tokens"]}


tell()
