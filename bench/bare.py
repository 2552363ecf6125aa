"""The bare prototype to compare with: FastAPI and aiohttp, no keys, metrics, checks or retries."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from bench.workload import Graph, aggregate_messages, graph_of


def build(upstream: str) -> FastAPI:
    """The whole prototype."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as app.state.session:
            yield

    app = FastAPI(lifespan=lifespan)

    async def ask(body: dict[str, Any]) -> bytes:
        async with app.state.session.post(url, data=orjson.dumps(body)) as response:
            return bytes(await response.read())

    async def stream(body: dict[str, Any]) -> AsyncIterator[bytes]:
        async with app.state.session.post(url, data=orjson.dumps(body)) as response:
            async for data in response.content.iter_any():
                yield data

    async def propose(graph: Graph, messages: list[dict[str, str]]) -> list[dict[str, str]]:
        for layer in graph.layers:
            bodies = ({"model": model, "messages": messages} for model in layer)
            answers = await asyncio.gather(*(ask(body) for body in bodies))
            texts = [orjson.loads(a)["choices"][0]["message"]["content"] for a in answers]
            messages = aggregate_messages(messages, texts)
        return messages

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        body = orjson.loads(await request.body())
        graph = graph_of(body["model"])
        body["messages"] = await propose(graph, body["messages"])
        body["model"] = graph.aggregator
        if body.get("stream"):
            return StreamingResponse(stream(body), media_type="text/event-stream")
        return Response(await ask(body), media_type="application/json")

    url = f"{upstream}/chat/completions"
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    options = parser.parse_args()
    uvicorn.run(build(options.upstream), port=options.port, access_log=False, log_level="warning")
